"""Which images there are: names, folders and patterns -> files in natural order, and what was not looked at.

In a folder and all below it:

- A file with an image's suffix is taken. One of another suffix is taken where its first bytes are those of an image; a
  picture of a format that cannot be opened is counted. What is no picture is not worth a word.
- Links are followed, and each real folder is searched once, so that no circle of links matters.
- Drafts of fiqa (`.fiqa-*`) and what macOS keeps beside each photo on foreign disks (`._*`) are no pictures.
- What cannot be looked at (folders without permission, broken links, pipes, devices) is counted.
"""

import errno
import glob
import logging
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import overload

from sdk.errors import InputError
from sdk.files import check_name
from sdk.images.image_header import HEIF_FORMATS, advice_for, foreign_format, is_readable

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif"}
)
"""What is taken for an image in a folder without a look into it."""

_HEIF_SUFFIXES = {".heic": "HEIC", ".heif": "HEIC", ".hif": "HEIC", ".avif": "AVIF"}
_RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef"}
    | {".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
"""Raw files of cameras; many begin like a TIFF, whose first picture is a thumbnail."""

_OTHER_SUFFIXES = frozenset(
    {".exr", ".hdr", ".j2k", ".jp2", ".jpf", ".jpx", ".jxl", ".jxr", ".psb", ".psd", ".svg", ".tga", ".xcf"}
    | {".pbm", ".pgm", ".pnm", ".ppm", ".ico"}
)
_PLAIN_SUFFIXES = frozenset(
    {
        ".csv",
        ".html",
        ".htm",
        ".json",
        ".jsonl",
        ".log",
        ".md",
        ".npy",
        ".npz",
        ".onnx",
        ".parquet",
        ".pdf",
        ".pt",
        ".py",
    }
    | {".toml", ".tsv", ".txt", ".xml", ".xmp", ".yaml", ".yml", ".zip"}
)
"""Files beside photos that are not opened to see whether they are one."""

_NUMBER = re.compile("([0-9]+)")
_HEAD = 256
_CLOSED_FOLDER, _CLOSED_FILE = "a folder that cannot be entered", "a file that cannot be read"
_UNREADABLE = frozenset({_CLOSED_FOLDER, _CLOSED_FILE})
_NO_PICTURES = (".fiqa-", "._")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was not looked at.

    Attributes:
        kind: A suffix such as `.heic`, or words such as `a broken link`.
        count: How many.
        first: Path of the first one.
        advice: What opens them.
        unreadable: Whether the system did not let us look, so that any number of images may be missing.
    """

    kind: str
    count: int
    first: str
    advice: str
    unreadable: bool = False

    def __str__(self) -> str:
        return f"{self.count} x {self.kind} ({self.first}); {self.advice}"


class PathList(Sequence[Path]):
    """Paths, held as text: a million take a fifth of the memory that `Path`s would."""

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
    """Images, and what was not looked at.

    Attributes:
        files: Each name of a file once, links included, in the order given; in natural order below a folder.
        left_out: By kind, in the order found.
    """

    files: Sequence[Path]
    left_out: tuple[LeftOut, ...]


def find_images(names: Iterable[str | os.PathLike[str]]) -> Found:
    """Find the images of files, folders (searched to the bottom) and patterns (`**` for folders of any depth).

    A name that exists is no pattern. A file that is named, or matches a pattern, is taken whatever it is.

    Raises:
        InputError: A name is neither a file nor a folder and matches nothing, or there is no image at all.
    """
    search = _Search()
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
    """Find all images of a folder and its sub-folders, in natural order. What is left out is a warning in the log."""
    search = _Search()
    search.add_folder(str(folder))
    for one in search.left_out():
        logger.warning("left out in %s: %s", folder, one)
    return [Path(name) for name in search.files]


def natural_key(text: str) -> str:
    """Return a key to sort names by, in which 2 comes before 10."""
    return _NUMBER.sub(_number_key, text)


def _number_key(found: re.Match[str]) -> str:
    """A number of more digits is larger; of equal numbers the one with fewer zeros before it comes first."""
    digits = found[0].lstrip("0")
    return f"{len(digits):04}{digits}.{len(found[0]):04}"


class _Search:
    """One search: what was found, and which folders have been searched."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self._left_out: dict[str, LeftOut] = {}
        self._searched: set[str] = set()  # real paths of folders
        self._single: dict[str, set[str]] = {}  # real path of a folder: names of files in it that were taken already
        self._last = "", os.path.realpath("")  # a folder, and its real path

    def left_out(self) -> tuple[LeftOut, ...]:
        return tuple(self._left_out.values())

    def add(self, name: str) -> None:
        """Add what a name or a pattern stands for.

        Raises:
            InputError: It stands for nothing.
        """
        check_name(name)
        try:
            os.stat(name)
            matches = [name]
        except OSError as error:
            matches = self._expand(name) if glob.has_magic(name) else []
            if not matches:
                reason = "" if isinstance(error, FileNotFoundError) else f" ({error.strerror})"
                raise InputError(
                    f"{name}: no such file or folder{reason}, and no match as a pattern; correct the path"
                ) from error
        for match in sorted((str(Path(match)) for match in matches), key=_path_key):
            try:
                is_folder = stat.S_ISDIR(os.stat(match).st_mode)
            except OSError as error:
                self._leave_broken(match, error)
                continue
            if is_folder:
                self.add_folder(match)
            else:
                self._add_once(match)

    def add_folder(self, name: str) -> None:
        """Add the images below a folder."""
        root = os.path.realpath(name)
        if root in self._searched:
            return
        inside = root.rstrip(os.sep) + os.sep
        waiting = [self._entries(name, root)]
        while waiting:
            entry = next(waiting[-1], None)
            if entry is None:
                waiting.pop()
                continue
            path, real, is_link = entry
            if real in self._searched or (is_link and real.startswith(inside)):
                self._leave("a link to a folder that is searched anyway", path, "nothing is missing")
            else:
                waiting.append(self._entries(path, real))

    def _entries(self, folder: str, real: str) -> Iterator[tuple[str, str, bool]]:
        """Take the files of one folder, and yield the folders in it: path, real path, whether it is a link."""
        self._searched.add(real)
        try:
            with os.scandir(folder) as found:
                entries = [entry for entry in found if not entry.name.startswith(_NO_PICTURES)]
        except OSError as error:
            self._leave(_CLOSED_FOLDER, folder, _rights(error))
            return
        entries.sort(key=lambda entry: natural_key(entry.name))
        taken = self._single.get(real, ())
        for entry in entries:
            path = entry.name if folder == os.curdir else entry.path
            is_link = entry.is_symlink()
            try:
                if entry.is_file():
                    if entry.name not in taken and self._is_image(path):
                        self.files.append(path)
                elif entry.is_dir():
                    yield path, os.path.realpath(path) if is_link else os.path.join(real, entry.name), is_link
                else:
                    self._leave_special(path, entry.stat().st_mode)
            except OSError as error:
                self._leave_broken(path, error)

    def _add_once(self, path: str) -> None:
        """Add a file by its name, unless that is there already, or comes with its folder."""
        folder, name = os.path.split(path)
        if folder != self._last[0]:
            self._last = folder, os.path.realpath(folder)
        folder = self._last[1]
        taken = self._single.setdefault(folder, set())
        if name in taken or (folder in self._searched and _look_at(os.path.join(folder, name))[0]):
            return
        taken.add(name)
        self.files.append(path)

    def _is_image(self, path: str) -> bool:
        taken, kind, advice = _look_at(path)
        if kind:
            self._leave(kind, path, advice)
        return taken

    def _expand(self, pattern: str) -> list[str]:
        """Match a pattern; `**` stands for a folder and all below it, each real one once, so that no circle matters."""
        before, deep, after = f"{os.sep}{pattern}".partition(f"{os.sep}**{os.sep}")
        if f"{os.sep}{pattern}".endswith(f"{os.sep}**") and not deep:
            before, deep = f"{os.sep}{pattern}"[:-3], "**"
        try:
            if not deep:
                return glob.glob(pattern)
            start = before[1:] or (os.sep if pattern.startswith(os.sep) else os.curdir)
            folders = [folder for folder in glob.glob(start) if os.path.isdir(folder)]
        except re.error as error:
            raise InputError(f"{pattern} is no pattern ({error}); correct it") from error
        if not after:
            return folders
        below = [inner for folder in folders for inner in self._folders_below(folder)]
        return [match for folder in below for match in self._expand(os.path.join(glob.escape(folder), after))]

    def _folders_below(self, root: str) -> Iterator[str]:
        """Yield a folder and all below it, without hidden ones, each real one once."""
        seen = set()
        waiting = [root]
        while waiting:
            folder = waiting.pop()
            real = os.path.realpath(folder)
            if real in seen:
                continue
            seen.add(real)
            yield folder
            try:
                with os.scandir(folder) as found:
                    entries = [entry.path for entry in found if not entry.name.startswith(".")]
            except OSError as error:
                self._leave(_CLOSED_FOLDER, folder, _rights(error))
                continue
            waiting += [path for path in entries if os.path.isdir(path)]

    def _leave(self, kind: str, path: str, advice: str) -> None:
        old = self._left_out.get(kind)
        count, first = (old.count + 1, old.first) if old else (1, path)
        self._left_out[kind] = LeftOut(kind, count, first, advice, kind in _UNREADABLE)

    def _leave_special(self, path: str, mode: int) -> None:
        names = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        self._leave(names.get(stat.S_IFMT(mode), "a device"), path, "it holds no picture")

    def _leave_broken(self, path: str, error: OSError) -> None:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            self._leave("a broken link", path, "mend or delete it")
        elif error.errno == errno.ELOOP:
            self._leave("a link that leads in a circle", path, "mend or delete it")
        else:
            self._leave(_CLOSED_FILE, path, _rights(error))


def _path_key(path: str) -> str:
    """Key by which a folder's files stand together."""
    return natural_key(path.replace(os.sep, "\0"))


def _rights(error: OSError) -> str:
    return f"{error.strerror}: give yourself the right to read it"


def _look_at(path: str) -> tuple[bool, str, str]:
    """Judge a file of a folder: whether it is taken, else its kind and advice where it is worth a word."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix in IMAGE_SUFFIXES or (suffix in _HEIF_SUFFIXES and _can_read_heif()):
        return True, "", ""
    if suffix in _PLAIN_SUFFIXES:
        return False, "", ""
    if suffix in _RAW_SUFFIXES:
        return False, suffix, "develop it to JPEG"
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            head = os.read(file, _HEAD)
        finally:
            os.close(file)
    except OSError as error:
        return False, _CLOSED_FILE, _rights(error)
    foreign = foreign_format(head)
    if is_readable(head) or (foreign in HEIF_FORMATS and _can_read_heif()):
        return True, "", ""
    if suffix in _HEIF_SUFFIXES or suffix in _OTHER_SUFFIXES:
        return False, suffix, advice_for(foreign or _HEIF_SUFFIXES.get(suffix, ""))
    return False, foreign, advice_for(foreign)


@cache
def _can_read_heif() -> bool:
    return find_spec("pillow_heif") is not None
