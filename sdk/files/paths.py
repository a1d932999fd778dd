"""Paths: is the name possible, and is it a stream (a pipe, a device, an own output) instead of a file?"""

import io
import os
import re
import stat
from pathlib import Path

from sdk.errors import FiqaError, InputError

_STREAM = re.compile(r"/dev/(fd/\d+|std(in|out|err))|/proc/(self|thread-self|\d+)/fd/\d+")


def check_name(path: str | os.PathLike[str], kind: type[FiqaError] = InputError) -> None:
    """Refuse a name that no file can have: one with a NUL, or with characters that the system cannot encode.

    Args:
        path: The path to check; it need not exist.
        kind: Class of the error to raise.

    Raises:
        FiqaError: The name is impossible; the class is `kind`.
    """
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise kind(f"{os.fspath(path)!r} is no name of a file ({error.reason}); correct it") from error
    if b"\0" in name:
        raise kind(f"{os.fspath(path)!r} holds a NUL character, which no name of a file has; correct it")


def is_stream(path: Path) -> bool:
    """Tell whether a path is a stream: a pipe, a device, or a standard stream of this process.

    Raises:
        OSError: The system cannot look up the path.
    """
    if _STREAM.fullmatch(os.path.abspath(path)):
        return True
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def open_stream(path: Path) -> io.FileIO:
    """Open a stream for writing, unbuffered; see `is_stream`."""
    return open(path, "ab", buffering=0)
