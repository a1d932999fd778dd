"""Which files are images."""

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sdk.errors import InputError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""What is taken for an image in a folder; a file that is named itself is always tried."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files of one kind that are not looked at."""

    kind: str
    count: int
    first: str
    advice: str


@dataclass(frozen=True, slots=True)
class Found:
    """The images, and what is not looked at."""

    files: Sequence[Path]
    left_out: tuple[LeftOut, ...]


def find_images(names: Iterable[str]) -> Found:
    """Files, folders (searched to the bottom, by suffix) and glob patterns -> files, each once, in the order given.

    Raises:
        InputError: A name is neither a file nor a folder and matches nothing, or there is no image at all.
    """
    names = list(names)
    found: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        matches = [path] if path.exists() else sorted(Path(match) for match in glob.glob(name, recursive=True))
        if not matches:
            raise InputError(f"{name}: no such file or folder, and no match as a pattern; correct the path")
        for match in matches:
            found.update(dict.fromkeys(images_below(match) if match.is_dir() else [match]))
    if not found:
        wanted = ", ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"no image in {', '.join(names)}; looked for {wanted}; name other files themselves")
    return Found(list(found), ())


def images_below(folder: Path) -> list[Path]:
    """All images of a folder and its sub-folders, by suffix, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
