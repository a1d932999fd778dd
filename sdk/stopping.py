"""Ending a long command when the user or the system asks for it."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_ASKED = ("SIGINT", "SIGTERM", "SIGHUP")
_PATIENCE = 0.3
"""Seconds that threads get to come to an end."""


@contextmanager
def stop_signals(code: int) -> Iterator[None]:
    """Make Ctrl-C, SIGTERM and SIGHUP a KeyboardInterrupt, once; the next one ends the process at once.

    A signal that is ignored, as `nohup` has it, stays ignored.

    Args:
        code: Exit code of a process that is ended at once.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, lambda *_: os._exit(code))
        raise KeyboardInterrupt

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in _ASKED:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.getsignal(number)
        for number in before:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(code: int, name: str) -> None:
    """End the process at once if threads of a name are still at work, which Python would wait for.

    Args:
        code: Exit code.
        name: What the names of those threads begin with.
    """
    threads = [thread for thread in threading.enumerate() if thread.name.startswith(name)]
    for thread in threads:
        thread.join(_PATIENCE / len(threads))
    if any(thread.is_alive() for thread in threads):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
