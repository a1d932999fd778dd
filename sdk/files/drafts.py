"""Drafts: hidden files beside a target, which take its place when they are whole."""

import itertools
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_LONGEST_SUFFIX = 16


@contextmanager
def draft_beside(target: Path) -> Iterator[Path]:
    """Make an empty file beside a target, with the rights that the umask gives; remove it at the end if it is there.

    Names are numbered for each target, and a draft is locked while it is written. So a draft whose lock is free is
    what a killed process left: it is removed, and a folder never holds more of them than it had writers at once.
    """
    name = f".fiqa-{zlib.crc32(os.fsencode(target.name)):08x}"
    suffix = target.suffix if len(target.suffix) <= _LONGEST_SUFFIX else ""
    if sys.platform == "win32":  # an open file cannot be renamed, and its lock would keep the writer out
        draft = target.with_name(f"{name}-{os.urandom(6).hex()}{suffix}")
        draft.touch(exist_ok=False)
        try:
            yield draft
        finally:
            draft.unlink(missing_ok=True)
        return
    drafts = (target.with_name(f"{name}-{number}{suffix}") for number in itertools.count())
    draft, descriptor = next((draft, held) for draft in drafts if (held := _make_locked(draft)) is not None)
    try:
        yield draft
    finally:
        with suppress(OSError):
            if _is_at(descriptor, draft):  # else it took its target's place, and the name may be another writer's now
                draft.unlink()
        os.close(descriptor)


def _make_locked(draft: Path) -> int | None:
    """Make a file and lock it, in the place of one that nobody holds; None where it is another writer's."""
    while True:
        try:
            descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            if not _remove_left(draft):
                return None
            continue
        with suppress(OSError):  # some file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if _is_at(descriptor, draft):
                return descriptor
        os.close(descriptor)  # another writer took it for one that was left, before it was locked


def _remove_left(draft: Path) -> bool:
    """Remove a draft that nobody holds, and say whether its name is free."""
    try:
        descriptor = os.open(draft, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, draft):
                draft.unlink()
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell whether an open file is the one of that name. While its lock is held, nobody else changes that."""
    return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
