"""One run at a time into one output."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sdk.errors import InputError
from sdk.files import write_errors


@contextmanager
def locked(*targets: Path | None) -> Iterator[None]:
    """Keep other runs away from files and folders that this one writes.

    The lock is the operating system's, on a file `.lock` in a folder or `<name>.lock` beside a file, so it ends with
    the process, however that ends; on a shared file system it holds between machines where that has `flock`.

    Args:
        targets: Files, and folders that exist; None is passed over.

    Raises:
        InputError: Another run is writing there.
        OutputError: The disk is full.
    """
    with ExitStack() as held:
        for target in filter(None, targets):
            held.enter_context(_lock(target))
        yield


@contextmanager
def _lock(target: Path) -> Iterator[None]:
    path = target / ".lock" if target.is_dir() else target.with_name(target.name + ".lock")
    lock = FileLock(path, timeout=0)
    with write_errors(path):
        try:
            lock.acquire()
        except Timeout as error:
            raise InputError(
                f"{target} is being written by another run ({_holder(path)}); wait for it, stop it, or write elsewhere"
            ) from error
    try:
        with suppress(OSError):  # the holder is named for people; the lock holds without
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file
            path.unlink()
        lock.release()


def _holder(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(200).decode("utf-8", "replace") or "just started"
    except OSError:
        return "just ended"
