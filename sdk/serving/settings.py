"""Settings of the service, and its keys."""

import os
from dataclasses import dataclass
from pathlib import Path

from sdk.errors import InputError
from sdk.files import read_text
from sdk.images.decoding import MAX_BYTES

KEY_VARIABLE = "FIQA_KEY"
"""Environment variable that may hold the keys."""

SHORTEST_KEY = 16
"""Least characters of a key."""

LARGEST_KEY_FILE = 1 << 16


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Settings of the service.

    Attributes:
        keys: Keys, one of which a client sends; empty where none is asked for.
        queue: Most pictures that wait or are being scored.
        seconds: Time for a body to arrive, and again for its answer.
        max_bytes: Largest body.
        memory: Most bytes of all bodies together.
        parts: Most pictures of a request.
    """

    keys: tuple[str, ...] = ()
    queue: int = 256
    seconds: float = 30.0
    max_bytes: int = MAX_BYTES
    memory: int = 8 * MAX_BYTES
    parts: int = 64


def read_keys(file: Path | None) -> tuple[str, ...]:
    """Return the keys of a file, one a line; without a file, those of the environment variable `FIQA_KEY`.

    Raises:
        InputError: The file cannot be read or holds no key, or a key is short or has other characters than ASCII.
    """
    if file is None:
        text, where = os.environ.get(KEY_VARIABLE, ""), KEY_VARIABLE
    else:
        text = read_text(file, InputError, "give --key-file a text file with a key a line", LARGEST_KEY_FILE)
        where = str(file)
    keys = tuple(line.strip() for line in text.splitlines() if line.strip())
    if file is not None and not keys:
        raise InputError(f"{file} holds no key, wanted one a line; make one: openssl rand -hex 32")
    for number, key in enumerate(keys, 1):
        if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
            raise InputError(
                f"key {number} of {where} has {len(key)} characters, wanted at least {SHORTEST_KEY} of ASCII without "
                "spaces; make one: openssl rand -hex 32"
            )
    return keys


def read_accept(text: str | None) -> float | str | None:
    """Return what a text says of acceptance, for `QualityScorer`: a score, or the name of an operating point."""
    try:
        return text and float(text)
    except ValueError:
        return text
