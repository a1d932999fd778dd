"""Write files whole: into a draft beside the target, which takes the target's place at the end."""

import errno
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sdk.errors import InputError, OutputError
from sdk.files.drafts import draft_beside
from sdk.files.paths import check_name, is_stream, open_stream

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Error numbers for "no more can be written": the disk is full, the quota is reached, the file is too large."""

_BLOCK = 1 << 16


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` inside the block into one of fiqa's errors.

    Args:
        path: The file that is written; named in the message.

    Raises:
        InputError: The path cannot be written.
        OutputError: The disk is full.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in FULL:
            raise OutputError(f"{path} cannot be written: {reason}; make room and start again") from error
        raise InputError(f"{path} cannot be written: {reason}; choose another place") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a draft to write, and put it in the place of `path` when the block ends without an error.

    Args:
        path: The target; its folder is made.

    Yields:
        Path of the draft: an empty file with the target's suffix.

    Raises:
        InputError: The path cannot be written.
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
        make_parents(target)
        with draft_beside(target) as draft:
            copy_permissions(target, draft)
            yield draft
            os.replace(draft, target)


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Call a function that writes a draft, and put the draft in the place of `path`; see `replacing`.

    Raises:
        InputError: The path cannot be written.
        OutputError: The disk is full.
    """
    with replacing(path) as draft:
        write(draft)


def write_file(path: Path, data: bytes | str) -> None:
    """Write a whole file; text as UTF-8. See `replacing`.

    Raises:
        InputError: The path cannot be written.
        OutputError: The disk is full.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    with replacing(path) as draft:
        draft.write_bytes(content)


def write_json(path: Path, values: object) -> None:
    """Write values as indented JSON. See `replacing`.

    Raises:
        InputError: The path cannot be written.
        OutputError: The disk is full.
        ValueError: A value is NaN or infinity, which JSON does not have: an error of the caller.
    """
    write_file(path, json.dumps(values, indent=2, allow_nan=False) + "\n")


def move_file(draft: Path, path: Path) -> None:
    """Move a complete file to `path`, with the same care for links, permissions and streams as `replacing`.

    Raises:
        InputError: The path cannot be written.
        OutputError: The disk is full.
    """
    check_name(path)
    with write_errors(path):
        target = Path(os.path.realpath(path))
        if is_stream(path) or os.stat(target.parent).st_dev != os.stat(draft).st_dev:
            replace_file(path, lambda new: shutil.copyfile(draft, new))
            return
        copy_permissions(target, draft)
        os.replace(draft, target)


def make_parents(path: Path) -> None:
    """Make the folder of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)


def copy_permissions(target: Path, draft: Path) -> None:
    """Give a draft the permissions and the owner of the file that it will replace.

    Raises:
        PermissionError: The target may not be written.
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
    with suppress(OSError):  # some file systems have no permissions
        os.chmod(draft, stat.S_IMODE(found.st_mode))
