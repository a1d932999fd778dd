"""Native code that belongs to one process: made anew in a forked one, and not cut off when the interpreter ends.

Threads of native code do not live on in a forked process, and locks that they held stay locked for ever. So what a
process inherits is never touched there, not even to free it; it is opened again when it is first used.
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

Thing = TypeVar("Thing")

LONGEST_END = 5.0
"""Most seconds that the end of the interpreter waits for calls of native code that still run."""


class PerProcess:
    """A thing whose `renew` is called in every forked process, before anything else runs there."""

    def __init__(self) -> None:
        """Called last by those that inherit, for a fork may happen at any moment."""
        _ALIVE.add(self)

    def renew(self) -> None:
        """Forget threads, and make locks anew: another thread of the parent may have held them."""
        raise NotImplementedError


class Native(PerProcess, Generic[Thing]):
    """Holds something of native code. `with` gives it; several threads may use it at the same time.

    Args:
        thing: What is held.
        reopen: Opens it again in a forked process, or raises a typed error.
        close: Frees it; it is not called while the thing is in use, nor in a process that has inherited it.
        closed: Makes the error for callers after `close`.
    """

    def __init__(
        self,
        thing: Thing,
        reopen: Callable[[], Thing],
        close: Callable[[Thing], object] = bool,
        closed: Callable[[], Exception] = RuntimeError,
    ) -> None:
        self._thing: Thing | None = thing
        self._reopen, self._close, self._make_error = reopen, close, closed
        self._closed = False
        # Reentrant: `close` may be called by the garbage collector, in a thread that is in here.
        self._lock = threading.RLock()
        self.users = 0
        super().__init__()

    def __enter__(self) -> Thing:
        stop_at_exit()
        with self._lock:
            if self._closed:
                raise self._make_error()
            if self._thing is None:
                self._thing = self._reopen()
            self.users += 1
            _HERE.depth += 1
            return self._thing

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            _HERE.depth -= 1
            self.users = max(0, self.users - 1)  # 0 already where the process was forked inside of `with`
            self._free()

    def close(self) -> None:
        """Free the thing, now or when its last call ends. Never waits for calls that run; may be called twice."""
        with self._lock:
            self._closed = True
            self._free()

    def renew(self) -> None:
        """See `PerProcess.renew`."""
        self._lock, self.users = threading.RLock(), 0
        if self._thing is not None:
            _keep_for_ever(self._thing)
            self._thing = None

    def _free(self) -> None:
        if self._closed and not self.users and self._thing is not None:
            thing, self._thing = self._thing, None
            self._close(thing)


def stop_at_exit() -> None:
    """Stop a daemon thread that begins a call while the interpreter ends.

    It would be cut off inside of C++ code, which aborts the process. What is in a call already may end it.
    """
    if _HERE.leaving and not _HERE.depth and threading.current_thread() is not threading.main_thread():
        threading.Event().wait()


def is_leaving() -> bool:
    """Tell whether the interpreter ends; from then on no other thread does any work."""
    return _HERE.leaving


class _Here(threading.local):
    """What the calling thread is in.

    Attributes:
        depth: How many calls of native code.
        leaving: Whether the interpreter ends; the same for all threads.
    """

    depth = 0
    leaving = False


def _keep_for_ever(thing: object) -> None:
    """Never free an inherited thing: it would wait for threads that are not here, even at the end of the process."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _renew_all() -> None:
    for thing in list(_ALIVE):
        thing.renew()
    _skip_destructors()


def _skip_destructors() -> None:
    """End a forked process without the destructors of C++, after Python has ended as always.

    That of onnxruntime waits for a thread which only the parent has, so that `sys.exit` would never return.
    """
    if "onnxruntime" in sys.modules and _LIBC is not None and hasattr(_LIBC, "on_exit"):  # glibc
        _LIBC.on_exit(_LIBC._exit, None)  # called first, for it is registered last; it gets the exit code


def _leave() -> None:
    _Here.leaving = True
    end = time.monotonic() + LONGEST_END
    while time.monotonic() < end and any(isinstance(thing, Native) and thing.users for thing in list(_ALIVE)):
        time.sleep(0.002)


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_ALIVE: "weakref.WeakSet[PerProcess]" = weakref.WeakSet()
_HERE = _Here()

atexit.register(_leave)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
