"""LineFile: a file that grows line by line, with one writer at a time."""

import io
import json
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from sdk.errors import InputError
from sdk.files.paths import check_name, is_stream, open_stream
from sdk.files.writing import make_parents, write_errors

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

_BLOCK = 1 << 16


class LineFile:
    """A file to which whole lines are added. Each line is handed to the system at once. One process writes at a time.

    What is in the file is kept. A killed process may leave a last line without its line break: a torn JSON object is
    cut off, any other line gets its line break.

    Args:
        path: The file; its folder is made.
        heal: Repair a last line without its line break. With False, the caller does it.

    Raises:
        InputError: The path cannot be written, or another process is writing there.
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
            make_parents(path)
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
            OutputError: The disk is full; the file is as it was before the call.
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
        """Cut the file after `end` bytes."""
        if not self.stream:
            with write_errors(self.path):
                self._file.truncate(end)

    def remove(self) -> None:
        """Delete the file while this process still holds the lock. Afterwards only `close` may be called."""
        if not self.stream:
            with suppress(OSError):
                self.path.unlink()

    def close(self) -> None:
        """Close the file and release the lock."""
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


def _open_locked(path: Path) -> io.FileIO:
    """Open and lock a file. Open it again if the writer before deleted it in the meantime (see `LineFile.remove`)."""
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


def _lock(descriptor: int, path: Path) -> None:
    """Lock an open file until this process closes it. Where there are no locks (Windows, some file systems), go on."""
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"{path} is being written by another run; wait for it, stop it, or write elsewhere") from error
    except OSError as error:
        logger.info("%s is not locked: %s", path, error)


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
