"""Read a user's files: regular files only, with a limit on the size, with one class of error."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sdk.errors import FiqaError
from sdk.files.paths import check_name

_BLOCK = 1 << 16
_LARGEST_TEXT = 64 << 20


@contextmanager
def open_file(path: Path, kind: type[FiqaError], advice: str) -> Iterator[BinaryIO]:
    """Open a regular file for reading. An `OSError` inside the block becomes an error of the same class.

    A pipe or a device is refused without waiting for it, because its data may never come or never end.

    Args:
        path: The file.
        kind: Class of the error to raise.
        advice: The end of the message: what the user should do.

    Yields:
        The file, open in binary mode.

    Raises:
        FiqaError: The file cannot be read, or is no regular file; the class is `kind`.
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
    """Read a whole regular file.

    Args:
        path: The file.
        kind: Class of the error to raise.
        advice: The end of the message: what the user should do.
        most: Largest size, bytes; None for no limit.

    Raises:
        FiqaError: The file cannot be read, is no regular file, or is too large; the class is `kind`.
    """
    with open_file(path, kind, advice) as file:
        size = os.fstat(file.fileno()).st_size
        # Never `file.read(most)`: Python would allocate that much memory even for a small file.
        data = b"" if most is not None and size > most else file.read() if most is None else file.read(size + 1)
        while most is not None and size < len(data) <= most and (block := file.read(_BLOCK)):  # the file has grown
            data += block
    if most is not None and max(size, len(data)) > most:
        raise kind(f"{path} has {size:,} bytes, wanted at most {most:,}; {advice}")
    return data


def read_text(path: Path, kind: type[FiqaError], advice: str, most: int | None = _LARGEST_TEXT) -> str:
    """Read a whole file as UTF-8, with or without a byte order mark. The arguments are those of `read_file`.

    Raises:
        FiqaError: The file cannot be read, is too large, or is not UTF-8; the class is `kind`.
    """
    try:
        return read_file(path, kind, advice, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise kind(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error


def _name_kind(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
        (stat.S_ISSOCK, "a socket"),
    )  # fmt: skip
    return next((name for test, name in kinds if test(mode)), "no regular file")
