"""One hostile input: files, and the door of the project through which they go. It can be kept in a zip and replayed."""

import json
import random
import struct
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Input:
    """What a worker tries.

    Attributes:
        door: Name of the function that takes it, see `DOORS` of each kind.
        files: Content by name; written into a folder of their own. The first is the one that the door opens.
        about: What was done to it, for people.
        options: Plain values for the door.
    """

    door: str
    files: dict[str, bytes]
    about: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Keep it in a zip."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            names = list(self.files)
            about = {"door": self.door, "about": self.about, "options": self.options, "names": names}
            archive.writestr("input.json", json.dumps(about))
            for number, data in enumerate(self.files.values()):
                archive.writestr(f"file{number}", data)

    @classmethod
    def load(cls, path: Path) -> "Input":
        """Read what `save` wrote."""
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read("input.json"))
            files = {name: archive.read(f"file{number}") for number, name in enumerate(about.pop("names"))}
        return cls(files=files, **about)


class Refused(Exception):  # noqa: N818 - no error of the project
    """Somebody else's library refused the input before the project saw it."""


def pick(draw: random.Random, table: dict[str, Item]) -> tuple[str, Item]:
    """A name of a table and what stands there."""
    name = draw.choice(list(table))
    return name, table[name]


INTERESTING = (
    0, 1, 2, 3, 7, 8, 15, 16, 17, 127, 128, 255, 256, 257, 4095, 8000, 8001, 16384, 32767, 32768, 65534, 65535, 65536,
    1 << 20, 64_000_000, (1 << 24) - 1, (1 << 30) - 1, 1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 16, (1 << 32) - 1,
)  # fmt: skip
"""Numbers at which readers break."""


def odd_number(draw: random.Random, largest: int = (1 << 32) - 1) -> int:
    """A number at which readers break, or any other."""
    number = draw.choice(INTERESTING) if draw.random() < 0.8 else draw.getrandbits(32)
    return min(number, largest)


# Mutations of bytes that know nothing of their structure.


def flip_bits(draw: random.Random, data: bytes) -> bytes:
    """Flip one to sixteen bits."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        place = draw.randrange(len(changed))
        changed[place] ^= 1 << draw.randrange(8)
    return bytes(changed)


def set_number(draw: random.Random, data: bytes) -> bytes:
    """Write an odd number over some bytes, mostly near the start."""
    size, code = draw.choice(((1, "B"), (2, "H"), (4, "I")))
    if len(data) <= size:
        return data
    end = len(data) - size
    place = draw.randrange(min(end, 200)) if draw.random() < 0.7 else draw.randrange(end)
    number = struct.pack(draw.choice("<>") + code, odd_number(draw, (1 << 8 * size) - 1))
    return data[:place] + number + data[place + size :]


def truncate(draw: random.Random, data: bytes) -> bytes:
    """Cut the end off."""
    return data[: draw.randrange(len(data))]


def delete(draw: random.Random, data: bytes) -> bytes:
    """Take some bytes out."""
    start, end = _range(draw, data)
    return data[:start] + data[end:]


def repeat(draw: random.Random, data: bytes) -> bytes:
    """Have some bytes twice or more often."""
    start, end = _range(draw, data)
    times = min(draw.choice((1, 1, 2, 10, 1000)), 1 + (1 << 20) // max(1, end - start))
    return data[:end] + data[start:end] * times + data[end:]


def insert(draw: random.Random, data: bytes) -> bytes:
    """Put random bytes or one byte many times somewhere."""
    place = draw.randrange(len(data) + 1)
    count = draw.choice((1, 2, 3, 4, 8, 64, 1024))
    more = draw.randbytes(count) if draw.random() < 0.5 else bytes([draw.choice((0, 0x20, 0x7F, 0x80, 0xFF))]) * count
    return data[:place] + more + data[place:]


def blank(draw: random.Random, data: bytes) -> bytes:
    """Overwrite some bytes with one value."""
    start, end = _range(draw, data)
    return data[:start] + bytes([draw.choice((0, 0xFF, 0x80, 0x41))]) * (end - start) + data[end:]


def trail(draw: random.Random, data: bytes) -> bytes:
    """Add something behind the end."""
    return data + draw.choice((b"\0", b"\n", b"PK\3\4", b"<html>", draw.randbytes(500), data))


MUTATIONS: Sequence[Callable[[random.Random, bytes], bytes]] = (
    flip_bits, set_number, set_number, truncate, delete, repeat, insert, blank, trail,
)  # fmt: skip


def mutate(draw: random.Random, data: bytes) -> tuple[bytes, str]:
    """One to three of these mutations, and their names."""
    names = []
    for change in draw.choices(MUTATIONS, k=draw.choice((1, 1, 2, 3))):
        if data:
            data = change(draw, data)
            names.append(change.__name__)
    return data, "+".join(names)


def splice(draw: random.Random, first: bytes, second: bytes) -> bytes:
    """The start of one file and the end of another."""
    return first[: draw.randrange(len(first) + 1)] + second[draw.randrange(len(second) + 1) :]


def _range(draw: random.Random, data: bytes) -> tuple[int, int]:
    start = draw.randrange(len(data))
    return start, min(len(data), start + draw.choice((1, 2, 4, 16, 100, 1000)))
