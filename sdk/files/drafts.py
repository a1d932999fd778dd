"""Drafts: hidden files beside a target, which take its place when they are complete."""

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
    """Make an empty file beside a target, with the permissions of the umask. Delete it at the end if it is still there.

    A draft is locked while it is written, so an unlocked draft was left by a killed process: it is deleted. Drafts of
    one target are numbered from 0, so there are never more of them than there were writers at the same time.

    Yields:
        Path of the draft, with the target's suffix.
    """
    name = f".fiqa-{zlib.crc32(os.fsencode(target.name)):08x}"
    suffix = target.suffix if len(target.suffix) <= _LONGEST_SUFFIX else ""
    if sys.platform == "win32":  # an open file cannot be renamed, and a locked one cannot be written
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
            if _is_at(descriptor, draft):  # else it was renamed to its target, and the name may be another writer's
                draft.unlink()
        os.close(descriptor)


def _make_locked(draft: Path) -> int | None:
    """Make and lock a draft, in the place of one that a killed process left.

    Returns:
        The file descriptor; None if another writer holds this name.
    """
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
        os.close(descriptor)  # before it was locked, another writer deleted it as one that was left


def _remove_left(draft: Path) -> bool:
    """Delete an unlocked draft; return True if the name is free now."""
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
    """Tell whether an open file still has this path. While its lock is held, no other process changes that."""
    return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
