"""End a long command when the user or the system asks for it: Ctrl-C (SIGINT), SIGTERM, SIGHUP.

`stoppable` is for a command that can be repeated and then goes on; `OrderlyEnd` is for one that watches a stream.
Both leave a signal alone that is ignored, as `nohup` has it, and give the ordinary handlers back to a forked child.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, TypeVar

Result = TypeVar("Result")

PATIENCE = 1.2
"""Seconds that the ordinary end of a command may take."""

THREAD_PATIENCE = 0.3
"""Seconds that threads get to come to an end."""

MESSAGE = "stopped; the same command goes on"

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


class Stopped(KeyboardInterrupt):
    """The command was asked to end. Its text is what the user should read.

    Attributes:
        code: Exit code: 128 and the signal's number, unless given.
    """

    def __init__(self, number: int, message: str = MESSAGE, code: int | None = None) -> None:
        super().__init__(message)
        self.code = 128 + number if code is None else code


@contextmanager
def stoppable(message: str = MESSAGE, *, code: int | None = None, patience: float | None = PATIENCE) -> Iterator[None]:
    """Raise `Stopped` in the main thread at the first signal, and end the process at once at the second.

    Python runs a handler between two of its own instructions, and waits for a thread pool when its block ends. Either
    may take minutes. So a thread ends the process when `patience` is over. What a run keeps must be whole at any time.

    Args:
        message: Text of `Stopped`; the thread that ends the process prints it, too.
        code: Exit code; None for 128 and the signal's number.
        patience: Seconds from the first signal to the end of the process; None for any time.
    """
    asked = threading.Event()

    def heard(number: int) -> None:
        if asked.is_set():
            _end_process(number, code)
        asked.set()
        raise Stopped(number, message, code)

    with _handlers(heard) as numbers, _watched(numbers, message, code, patience, asked):
        yield


class OrderlyEnd:
    """End a stream in order at SIGTERM and SIGHUP, and by `Stopped` at Ctrl-C. A context manager.

    Each signal counts once, and none counts while the run is being closed: a second Ctrl-C does not cut off what is
    being written.
    """

    def __init__(self) -> None:
        self._end: Callable[[], object] | None = None
        self._heard: set[int] = set()
        self._closing = False
        self._handlers = _handlers(self._hear)

    def watch(self, end: Callable[[], object]) -> None:
        """Say how to end the stream. Before this call SIGTERM and SIGHUP are a `Stopped` with exit code 0."""
        self._end = end

    def close(self) -> None:
        """Let no signal count any more, as the run is being closed."""
        self._closing = True

    def __enter__(self) -> "OrderlyEnd":
        self._handlers.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._handlers.__exit__(None, None, None)
        for number in self._heard:  # the process ends after a signal; another one would only change its exit code
            signal.signal(number, signal.SIG_IGN)

    def _hear(self, number: int) -> None:
        is_first = number not in self._heard and not self._closing
        self._heard.add(number)
        if number == getattr(signal, "SIGHUP", None):
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - the terminal is gone, and writing there would fail
        if not is_first:
            return
        if number == signal.SIGINT:
            raise Stopped(number)
        if self._end is None:
            raise Stopped(number, code=0)
        self._end()


def wait_for(work: Callable[[], Result]) -> Result:
    """Do work that may hang in native code in a thread, so that signals are heard meanwhile."""
    done: Future[Result] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is taken
            done.set_exception(error)

    threading.Thread(target=run, name="fiqa-open", daemon=True).start()
    while not done.done():
        wait([done], 0.2)
    return done.result()


def leave(code: int, name: str, others: Collection[threading.Thread] = ()) -> None:
    """End the process at once if threads of a name are still at work.

    Python would wait for such threads, and one that hangs in OpenCV would make it abort.

    Args:
        code: Exit code.
        name: What the names of those threads begin with.
        others: Threads that do not count, such as those of an earlier run.
    """
    threads = [one for one in threading.enumerate() if one.name.startswith(name) and one not in others]
    for thread in threads:
        thread.join(THREAD_PATIENCE / len(threads))
    if any(thread.is_alive() for thread in threads):
        _end_process(0, code)


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


@contextmanager
def _handlers(heard: Callable[[int], None]) -> Iterator[frozenset[int]]:
    """Call a function for each signal that asks for an end and is not ignored; gives their numbers.

    Outside the main thread, where Python takes no handlers, there are none.
    """
    owner = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            heard(number)
        else:  # a child whose handlers could not be given back
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in _numbers()}
        before = {number: handler for number, handler in found.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handle)
    _installed.append(before)
    try:
        yield frozenset(before)
    finally:
        with suppress(ValueError):  # a forked child has forgotten it
            _installed.remove(before)
        for number, handler in before.items():
            signal.signal(number, handler)


_installed: list[dict[int, Any]] = []
"""For each `_handlers` that is at work, the handlers from before, innermost last."""


def _forget_handlers() -> None:
    """Give a forked child the ordinary handlers, and not this process's pipe."""
    if _installed and threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)
        for before in reversed(_installed):
            for number, handler in before.items():
                signal.signal(number, handler)
        _installed.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_handlers)


@contextmanager
def _watched(
    numbers: Collection[int], message: str, code: int | None, patience: float | None, asked: threading.Event
) -> Iterator[None]:
    """End the process `patience` seconds after a signal, from a thread of its own, unless the block ends before."""
    if patience is None or not numbers:
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # The system's own handler writes the number there at once, whatever the main thread does.
    woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def watch() -> None:
        with open(reading, "rb", buffering=0) as pipe:
            while data := pipe.read(1):
                if data[0] in numbers:
                    time.sleep(patience)
                    with suppress(OSError, ValueError):
                        os.write(2, f"{message}\n".encode())
                    _end_process(data[0], code)

    threading.Thread(target=watch, daemon=True, name="fiqa-stop").start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken)
        if not asked.is_set():
            os.close(writing)


def _numbers() -> list[int]:
    return [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


def _end_process(number: int, code: int | None) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(128 + number if code is None else code)
