"""Ending a long command when it is asked to: Ctrl-C, SIGTERM, SIGHUP.

Python runs a signal's handler between two of its own instructions, and a thread pool is waited for when a block ends:
either may take minutes. So a thread of its own ends the process when the ordinary end takes too long. Nothing is torn
by that: whatever a run keeps is whole after `kill -9`, too.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

PATIENCE = 1.2
"""Seconds that the ordinary end may take."""

MESSAGE = "stopped; the same command goes on"

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


class Stopped(BaseException):
    """The command was asked to end.

    Attributes:
        code: Exit code, 128 and the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(MESSAGE)
        self.code = 128 + number


@contextmanager
def stoppable() -> Iterator[None]:
    """Make signals that ask for an end a `Stopped` in this thread, which must be the main one to have an effect.

    A signal that is ignored, as `nohup` has it, stays ignored. The process ends at once at the second signal, and when
    it has not ended `PATIENCE` seconds after the first.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner, asked = os.getpid(), threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a copy of this process, such as one that loads data
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if asked.is_set():
            _leave(number)
        asked.set()
        raise Stopped(number)

    before = _caught()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # The system's own handler writes the number there at once, whatever this thread does.
    woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    copies = _Copies(woken, before)
    os.register_at_fork(after_in_child=copies.forget)
    threading.Thread(target=_watch, args=(reading, set(before)), daemon=True, name="fiqa-stop").start()
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        copies.active = False
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
        if not asked.is_set():
            os.close(writing)


class _Copies:
    """Gives copies of this process, which a fork makes, the ordinary handlers, and not this one's pipe."""

    def __init__(self, woken: int, before: dict[int, Any]) -> None:
        self.active, self._woken, self._before = True, woken, before

    def forget(self) -> None:
        if self.active and threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._woken)
            for number, handler in self._before.items():
                signal.signal(number, handler)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Undo what a library does to the handlers of signals."""
    before = {number: signal.getsignal(number) for number in _numbers()}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                if handler is not None:
                    signal.signal(number, handler)


def _numbers() -> list[int]:
    return [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


def _caught() -> dict[int, Any]:
    handlers = {number: signal.getsignal(number) for number in _numbers()}
    return {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}


def _watch(reading: int, numbers: set[int]) -> None:
    with open(reading, "rb", buffering=0) as pipe:
        while data := pipe.read(1):
            if data[0] in numbers:
                time.sleep(PATIENCE)
                with suppress(OSError, ValueError):
                    os.write(2, f"{MESSAGE}\n".encode())
                _leave(data[0])


def _leave(number: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(128 + number)
