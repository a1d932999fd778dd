"""Native code (C++ libraries) in forked processes and at the end of the interpreter.

A fork copies no threads, and locks that they held stay locked. So a forked process never touches an inherited native
object, not even to free it; it opens the object again when it first uses it.

At its end, the interpreter stops daemon threads wherever they are. Inside C++ code that aborts the process. So the end
waits for native calls that run, and no new ones begin.
"""

import atexit
import ctypes
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")

LONGEST_END = 5.0
"""Most seconds that the end of the interpreter waits for native calls that still run."""


class ForkAware:
    """Base of objects that must be renewed in a forked process. `renew_after_fork` runs there before any other code."""

    def __init__(self) -> None:
        """Register the object. A subclass calls this last, because a fork may happen at any moment."""
        _ALIVE.add(self)

    def renew_after_fork(self) -> None:
        """Forget threads and make new locks: another thread of the parent may have held the old ones."""
        raise NotImplementedError


class NativeHandle(ForkAware, Generic[Item]):
    """Holds a native object. A `with` block gives the object; several threads may be inside at the same time.

    Args:
        item: The native object.
        reopen: Opens it again in a forked process, or raises a typed error.
        close: Frees it. Never called while a `with` block uses the object, nor in a process that inherited it.
        closed: Makes the error that a `with` block raises after `close`.

    Attributes:
        users: Number of `with` blocks that are running.
    """

    def __init__(
        self,
        item: Item,
        reopen: Callable[[], Item],
        close: Callable[[Item], object] = bool,
        closed: Callable[[], Exception] = RuntimeError,
    ) -> None:
        self._item: Item | None = item
        self._reopen, self._close, self._make_error = reopen, close, closed
        self._closed = False
        # Reentrant: the garbage collector may call `close` in a thread that holds this lock.
        self._lock = threading.RLock()
        self.users = 0
        super().__init__()

    def __enter__(self) -> Item:
        stop_at_exit()
        with self._lock:
            if self._closed:
                raise self._make_error()
            if self._item is None:
                self._item = self._reopen()
            self.users += 1
            _THIS_THREAD.depth += 1
            return self._item

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            _THIS_THREAD.depth -= 1
            self.users = max(0, self.users - 1)  # already 0 if the process was forked inside the block
            self._free()

    def close(self) -> None:
        """Free the object: now, or at the end of the last `with` block. Never waits; may be called twice."""
        with self._lock:
            self._closed = True
            self._free()

    def renew_after_fork(self) -> None:
        """See `ForkAware.renew_after_fork`."""
        self._lock, self.users = threading.RLock(), 0
        if self._item is not None:
            _never_free(self._item)
            self._item = None

    def _free(self) -> None:
        if self._closed and not self.users and self._item is not None:
            item, self._item = self._item, None
            self._close(item)


def stop_at_exit() -> None:
    """Block a daemon thread for ever that begins a native call while the interpreter ends; see the module's text.

    A thread that is inside a native call already may go on.
    """
    state = _THIS_THREAD
    if state.leaving and not state.depth and threading.current_thread() is not threading.main_thread():
        threading.Event().wait()


def is_leaving() -> bool:
    """Tell whether the interpreter is ending; from then on other threads do no work."""
    return _THIS_THREAD.leaving


class _ThreadState(threading.local):
    """State of the calling thread.

    Attributes:
        depth: Number of `with` blocks of `NativeHandle` that the thread is in.
        leaving: True once the interpreter is ending; the same in all threads.
    """

    depth = 0
    leaving = False


def _never_free(item: object) -> None:
    """Keep an inherited object until the process ends: its destructor would wait for threads of the parent."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(item))


def _renew_all() -> None:
    for each in list(_ALIVE):
        each.renew_after_fork()
    _skip_destructors()


def _skip_destructors() -> None:
    """Make a forked process end without C++ destructors, after Python's own end.

    onnxruntime's destructor waits for a thread that only the parent has: `sys.exit` would never return.
    """
    if "onnxruntime" in sys.modules and _LIBC is not None and hasattr(_LIBC, "on_exit"):  # glibc
        _LIBC.on_exit(_LIBC._exit, None)  # registered last, so called first; it gets the exit code


def _leave() -> None:
    _ThreadState.leaving = True
    end = time.monotonic() + LONGEST_END
    while time.monotonic() < end and any(isinstance(each, NativeHandle) and each.users for each in list(_ALIVE)):
        time.sleep(0.002)


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_ALIVE: "weakref.WeakSet[ForkAware]" = weakref.WeakSet()
_THIS_THREAD = _ThreadState()

atexit.register(_leave)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
