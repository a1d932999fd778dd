"""Find images: files, folders and patterns -> image files in natural order, and what was left out.

In a folder and all below it:

- A file with the suffix of an image is taken. Any other file is taken if its first bytes are those of an image.
- A picture in a format that cannot be read is counted. Files that are no pictures are not mentioned.
- Links are followed, and each real folder is searched once, so circles of links end.
- Drafts of fiqa (`.fiqa-*`) and the files that macOS writes beside photos (`._*`) are ignored.
- Folders without permission, broken links, pipes and devices are counted.
"""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from sdk.errors import InputError
from sdk.images.file_kinds import IMAGE_SUFFIXES
from sdk.images.search import LeftOut, Search

logger = logging.getLogger(__name__)


class PathList(Sequence[Path]):
    """A sequence of paths, stored as text: a fifth of the memory of `Path` objects."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> "PathList": ...
    def __getitem__(self, index: int | slice) -> "Path | PathList":
        return PathList(self._names[index]) if isinstance(index, slice) else Path(self._names[index])

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Images that were found, and what was left out.

    Attributes:
        files: Paths, each once, in the given order; those of a folder in natural order. A link is a path of its own.
        left_out: What was left out, by kind, in the order found.
    """

    files: Sequence[Path]
    left_out: tuple[LeftOut, ...]


def find_images(names: Iterable[str | os.PathLike[str]]) -> Found:
    """Find all images of files, folders and patterns.

    Args:
        names: Paths of files; paths of folders, searched with all their sub-folders; patterns (`*.jpg`, `**` for
            folders of any depth). A name that exists is no pattern. A file that is named, or matches a pattern, is
            taken whatever its kind.

    Raises:
        InputError: A name does not exist and matches nothing, or there is no image at all.
    """
    search = Search()
    given = [os.fspath(name) for name in names]
    for name in given:
        search.add(name)
    if not search.files:
        left_out = "".join(f"; left out: {one}" for one in search.left_out())
        raise InputError(
            f"no image in {', '.join(given) or 'nothing'}; looked for {', '.join(sorted(IMAGE_SUFFIXES))}{left_out}"
        )
    return Found(PathList(search.files), search.left_out())


def images_below(folder: Path) -> list[Path]:
    """Find all images of a folder and its sub-folders, in natural order. The log warns of what is left out."""
    search = Search()
    search.add_folder(str(folder))
    for one in search.left_out():
        logger.warning("left out in %s: %s", folder, one)
    return [Path(name) for name in search.files]
