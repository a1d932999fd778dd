"""Files: the one way to write them, and the one policy for their errors.

A file is written beside its place and renamed when it is whole, so that a reader, a second writer or a crash never
meets half of one. What is promised holds when a process ends in any way; nothing is promised for a power cut.

- A new file has the rights that the umask gives; a replaced one keeps its rights, and its owner where that can be.
- A symbolic link stays, and the file that it names is replaced.
- What is no regular file (a pipe, a device, `/dev/stdout`) is written into and never replaced.
- Of two writers to one name the last one wins whole, and none fails. `LineFile` has one writer at a time.
- What a killed process leaves, a hidden `.fiqa-*` beside the target, goes when the target is written again.
"""

import errno
import io
import json
import logging
import os
import re
import stat
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sdk.errors import FiqaError, InputError, OutputError
from sdk.files.drafts import draft_beside

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says when no more can be written: disk, quota, and largest file."""

_STREAM = re.compile(r"/dev/(fd/\d+|std(in|out|err))|/proc/(self|thread-self|\d+)/fd/\d+")
_BLOCK = 1 << 16


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn what the system says while a file is written into fiqa's errors.

    Raises:
        InputError: The place is wrong.
        OutputError: The disk is full.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in FULL:
            raise OutputError(f"{path} cannot be written: {reason}; make room and start again") from error
        raise InputError(f"{path} cannot be written: {reason}; choose another place") from error


def check_name(path: str | os.PathLike[str], kind: type[FiqaError] = InputError) -> None:
    """Refuse a name that no file can have: with a NUL, or with characters that the system cannot encode.

    Raises:
        FiqaError: Of the `kind`.
    """
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise kind(f"{os.fspath(path)!r} is no name of a file ({error.reason}); correct it") from error
    if b"\0" in name:
        raise kind(f"{os.fspath(path)!r} holds a NUL character, which no name of a file has; correct it")


@contextmanager
def open_file(path: Path, kind: type[FiqaError], advice: str) -> Iterator[BinaryIO]:
    """Open a regular file for reading; what fails while it is read becomes the same error.

    A pipe would be waited for and a device might never end, so both are refused without being opened.

    Args:
        path: The file.
        kind: Error to raise.
        advice: What to do, as the end of the message.

    Raises:
        FiqaError: Of the `kind`: the file cannot be read, or is no regular file.
    """
    check_name(path, kind)
    try:
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise kind(f"{path} is {_name_kind(mode)}, wanted a file; {advice}")
            yield file
    except OSError as error:
        raise kind(f"{path} cannot be read: {error.strerror or error}; {advice}") from error


def read_file(path: Path, kind: type[FiqaError], advice: str, most: int | None = None) -> bytes:
    """Read a regular file whole, of at most `most` bytes; None for any size. See `open_file`.

    Raises:
        FiqaError: Of the `kind`: it cannot be read, is no regular file, or is too large.
    """
    with open_file(path, kind, advice) as file:
        size = os.fstat(file.fileno()).st_size
        # Not `most` at once: as much room as is asked for is taken.
        data = b"" if most is not None and size > most else file.read() if most is None else file.read(size + 1)
        while most is not None and size < len(data) <= most and (block := file.read(_BLOCK)):
            data += block
    if most is not None and max(size, len(data)) > most:
        raise kind(f"{path} has {size:,} bytes, wanted at most {most:,}; {advice}")
    return data


def read_text(path: Path, kind: type[FiqaError], advice: str, most: int | None = 64 << 20) -> str:
    """Read a file as UTF-8, with or without a byte order mark; see `read_file`.

    Raises:
        FiqaError: Of the `kind`: it cannot be read, is too large, or is not UTF-8.
    """
    try:
        return read_file(path, kind, advice, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise kind(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file to write in the place of another, and put it there when the block ends without an error.

    Args:
        path: The target; its folder is made.

    Yields:
        Path of an empty file with the target's suffix.

    Raises:
        InputError: The place is wrong.
        OutputError: The disk is full.
    """
    check_name(path)
    with write_errors(path):
        if is_stream(path):
            import tempfile

            with tempfile.TemporaryDirectory(prefix="fiqa-") as folder, draft_beside(Path(folder) / path.name) as draft:
                yield draft
                with draft.open("rb") as source, open_stream(path) as file:
                    while block := source.read(_BLOCK):
                        file.write(block)
            return
        target = Path(os.path.realpath(path))
        _make_parents(target)
        with draft_beside(target) as draft:
            copy_rights(target, draft)
            yield draft
            os.replace(draft, target)


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Have a function write a file, and put it in the target's place when it is whole; see `replacing`.

    Raises:
        InputError: The place is wrong.
        OutputError: The disk is full.
    """
    with replacing(path) as draft:
        write(draft)


def write_file(path: Path, data: bytes | str) -> None:
    """Write a file whole; text as UTF-8. See `replacing`.

    Raises:
        InputError: The place is wrong.
        OutputError: The disk is full.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    with replacing(path) as draft:
        draft.write_bytes(content)


def write_json(path: Path, values: object) -> None:
    """Write plain values as indented JSON; see `write_file`. NaN and infinity, which JSON does not know, are a bug.

    Raises:
        InputError: The place is wrong.
        OutputError: The disk is full.
    """
    write_file(path, json.dumps(values, indent=2, allow_nan=False) + "\n")


class LineFile:
    """A file that grows by whole lines, each with the system as soon as it is written. One process writes at a time.

    What is there is kept. A last line without its end, which a killed process leaves, is cut off where it is a torn
    JSON object, and ended otherwise.

    Args:
        path: Its folder is made.
        heal: Look after a last line without its end; if not, the caller does.

    Raises:
        InputError: The place is wrong, or another process is writing there.
        OutputError: The disk is full.
    """

    def __init__(self, path: Path, heal: bool = True) -> None:
        self.path = path
        check_name(path)
        with write_errors(path):
            self.stream = is_stream(path)
            if self.stream:
                self._file = open_stream(path)
                return
            _make_parents(path)
            self._file = _open_locked(path)
            if heal:
                try:
                    self._heal()
                except BaseException:
                    self._file.close()
                    raise

    def write(self, lines: bytes) -> None:
        """Add whole lines.

        Raises:
            OutputError: The disk is full; the file ends with the line before.
        """
        with write_errors(self.path):
            if self.stream:
                self._write_all(lines)
                return
            end = self._file.seek(0, os.SEEK_END)
            try:
                self._write_all(lines)
            except OSError:
                with suppress(OSError):
                    self._file.truncate(end)
                raise

    def cut(self, end: int = 0) -> None:
        """Keep so many bytes only."""
        if not self.stream:
            with write_errors(self.path):
                self._file.truncate(end)

    def remove(self) -> None:
        """Remove the file, while nobody else can have begun to write to it; then it can only be closed."""
        if not self.stream:
            with suppress(OSError):
                self.path.unlink()

    def close(self) -> None:
        """Close the file, and let others write."""
        self._file.close()

    def _write_all(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) or 0 :]

    def _heal(self) -> None:
        size = self._file.seek(0, os.SEEK_END)
        start, tail = size, b""
        while start and b"\n" not in tail:
            step = min(_BLOCK, start)
            start -= step
            self._file.seek(start)
            tail = self._file.read(step) + tail
        torn = tail.rpartition(b"\n")[2]
        if not torn:
            return
        if torn.startswith(b"{") and not _is_json(torn):
            self._file.truncate(size - len(torn))
        else:
            self.write(b"\n")


def is_stream(path: Path) -> bool:
    """Tell whether a path names something to write into: a pipe, a device, one of this process's own streams.

    Raises:
        OSError: The path cannot be looked at.
    """
    if _STREAM.fullmatch(os.path.abspath(path)):
        return True
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def open_stream(path: Path) -> io.FileIO:
    """Open what `is_stream` says yes to, for writing."""
    return open(path, "ab", buffering=0)


def check_place(path: Path) -> None:
    """Make sure that a file can be written, before there is anything to lose. Its folder is made.

    Raises:
        InputError: It cannot.
        OutputError: The disk is full.
    """
    check_name(path)
    with write_errors(path):
        if path.is_dir():
            raise InputError(f"{path} is a folder, wanted the path of a file")
        if is_stream(path):
            return
        target = Path(os.path.realpath(path))
        _make_parents(target)
        with draft_beside(target) as draft:
            copy_rights(target, draft)


def check_suffix(option: str, path: Path, suffixes: Collection[str]) -> None:
    """Refuse a file whose suffix does not fit what is written to it.

    Args:
        option: Named in the error, such as `--report`.
        path: The file; a stream or device may have any name.
        suffixes: Lower-case, with their dots.

    Raises:
        InputError: It has another suffix.
    """
    check_name(path)
    with write_errors(path):
        if path.suffix.lower() not in suffixes and not is_stream(path):
            raise InputError(
                f"{option} {path} ends in {path.suffix or 'nothing'!r}, wanted one of: {', '.join(suffixes)}"
            )


def check_outputs(outputs: Mapping[str, Path | None], inputs: Iterable[Path] = ()) -> None:
    """Refuse an output that is an input, or another output, of the same command: compared by file, not by name.

    Args:
        outputs: By the option that names them; None for those that were not given.
        inputs: What the command reads.

    Raises:
        InputError: Two are one file.
    """
    taken: dict[object, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        check_name(path)
        with write_errors(path):
            if is_stream(path):
                continue
            key = _identity(path)
        if key in taken:
            raise InputError(f"{option} {path} is the file of {taken[key]}, too; give each output a file of its own")
        taken[key] = f"{option} {path}"
    if not taken:
        return
    for path in inputs:
        try:
            key = _identity(path)
        except (OSError, ValueError):  # whether it can be read is found out where it is read
            continue
        if key in taken:
            raise InputError(f"{taken[key]} is an input, {path}, and would be overwritten; choose another place")


def make_folder(path: Path) -> None:
    """Make the folder of results, before the work, so that this is not lost.

    Raises:
        InputError: It cannot be made or written.
        OutputError: The disk is full.
    """
    check_name(path)
    with write_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        with draft_beside(path / "x"):
            pass


def _make_parents(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)


def copy_rights(target: Path, draft: Path) -> None:
    """Give a draft the rights of the file that it will replace.

    Raises:
        PermissionError: That file may not be written.
    """
    try:
        found = os.stat(target)
    except FileNotFoundError:
        return
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(draft, found.st_uid, found.st_gid)
    with suppress(OSError):  # some file systems have no rights
        os.chmod(draft, stat.S_IMODE(found.st_mode))


def _identity(path: Path) -> object:
    """Give what two paths of one file have in common."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


def _lock(descriptor: int, path: Path) -> None:
    """Lock an open file for this process, which ends with it. Without locks (Windows, some file systems) it goes on."""
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"{path} is being written by another run; wait for it, stop it, or write elsewhere") from error
    except OSError as error:
        logger.info("%s is not locked: %s", path, error)


def _open_locked(path: Path) -> io.FileIO:
    """Open a file for one writer, and make sure that it was not removed by the writer before while it was opened."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        file = open(os.open(path, flags, 0o666), "r+b", 0)  # noqa: SIM115 - closed by the caller
        try:
            _lock(file.fileno(), path)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _name_kind(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
        (stat.S_ISSOCK, "a socket"),
    )  # fmt: skip
    return next((name for test, name in kinds if test(mode)), "no regular file")
