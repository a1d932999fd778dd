"""Search files, folders and patterns for images, and count what is left out."""

import errno
import glob
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sdk.errors import InputError
from sdk.files import check_name
from sdk.images.file_kinds import UNREADABLE_FILE, look_at, permission_advice
from sdk.images.natural_order import natural_key

_UNREADABLE_FOLDER = "a folder that cannot be entered"
_UNREADABLE = frozenset({_UNREADABLE_FOLDER, UNREADABLE_FILE})
_IGNORED = (".fiqa-", "._")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files or folders of one kind that were left out.

    Attributes:
        kind: A suffix, for example `.heic`, or a description, for example `a broken link`.
        count: Number of them.
        first: Path of the first one.
        advice: What the user can do.
        unreadable: True if the system does not let us read them, so any number of images may be missing.
    """

    kind: str
    count: int
    first: str
    advice: str
    unreadable: bool = False

    def __str__(self) -> str:
        return f"{self.count} x {self.kind} ({self.first}); {self.advice}"


class Search:
    """One search.

    Attributes:
        files: Images that were found.
    """

    def __init__(self) -> None:
        self.files: list[str] = []
        self._left_out: dict[str, LeftOut] = {}
        self._searched: set[str] = set()  # real paths of searched folders
        self._single: dict[str, set[str]] = {}  # names of files added one by one, by the real path of their folder
        self._last = "", os.path.realpath("")  # the last folder of `_add_once`, and its real path

    def left_out(self) -> tuple[LeftOut, ...]:
        """Return what was left out, by kind, in the order found."""
        return tuple(self._left_out.values())

    def add(self, name: str) -> None:
        """Add the images of a file, a folder or a pattern.

        Raises:
            InputError: There is no such file or folder, and nothing matches.
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
        todo = [self._entries(name, root)]
        while todo:
            entry = next(todo[-1], None)
            if entry is None:
                todo.pop()
                continue
            path, real, is_link = entry
            if real in self._searched or (is_link and real.startswith(inside)):
                self._leave("a link to a folder that is searched anyway", path, "nothing is missing")
            else:
                todo.append(self._entries(path, real))

    def _entries(self, folder: str, real: str) -> Iterator[tuple[str, str, bool]]:
        """Add the images of one folder. Yield its sub-folders: path, real path, and True for a link."""
        self._searched.add(real)
        try:
            with os.scandir(folder) as found:
                entries = [entry for entry in found if not entry.name.startswith(_IGNORED)]
        except OSError as error:
            self._leave(_UNREADABLE_FOLDER, folder, permission_advice(error))
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
        """Add a file by its name, unless it was added before or with its folder."""
        folder, name = os.path.split(path)
        if folder != self._last[0]:
            self._last = folder, os.path.realpath(folder)
        folder = self._last[1]
        taken = self._single.setdefault(folder, set())
        if name in taken or (folder in self._searched and look_at(os.path.join(folder, name)).is_image):
            return
        taken.add(name)
        self.files.append(path)

    def _is_image(self, path: str) -> bool:
        taken, kind, advice = look_at(path)
        if kind:
            self._leave(kind, path, advice)
        return taken

    def _expand(self, pattern: str) -> list[str]:
        """Return the matches of a pattern. `**` is a folder and all below it, each real folder once, so circles end."""
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
        """Yield a folder and all folders below it, without hidden ones, each real folder once."""
        seen = set()
        todo = [root]
        while todo:
            folder = todo.pop()
            real = os.path.realpath(folder)
            if real in seen:
                continue
            seen.add(real)
            yield folder
            try:
                with os.scandir(folder) as found:
                    entries = [entry.path for entry in found if not entry.name.startswith(".")]
            except OSError as error:
                self._leave(_UNREADABLE_FOLDER, folder, permission_advice(error))
                continue
            todo += [path for path in entries if os.path.isdir(path)]

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
            self._leave(UNREADABLE_FILE, path, permission_advice(error))


def _path_key(path: str) -> str:
    """Return a key that keeps the files of a folder together."""
    return natural_key(path.replace(os.sep, "\0"))
