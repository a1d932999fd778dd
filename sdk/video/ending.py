"""How a command that watches a stream ends: by signals, in order, and without waiting for what hangs."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, TypeVar

import typer

from sdk.video.video_scorer import VideoScorer

Result = TypeVar("Result")


class Signals:
    """Hears signals: SIGTERM and SIGHUP end the stream in order, Ctrl-C at once. A context manager.

    Each counts once, and none while the run is being closed: what is written then is not cut off by an impatient user.
    """

    def __init__(self) -> None:
        self._stream: VideoScorer | None = None
        self._heard: set[int] = set()
        self._closing = False
        self._before: dict[int, Any] = {}

    def watch(self, stream: VideoScorer) -> None:
        """From now on there is a stream to be ended."""
        self._stream = stream

    def close(self) -> None:
        """The run is being closed; hear nothing more."""
        self._closing = True

    def __enter__(self) -> "Signals":
        for name, handler in (("SIGINT", self._interrupt), ("SIGTERM", self._end), ("SIGHUP", self._hang_up)):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # nohup, or a job in the background
                self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            # The process ends after a signal; another one would only change its exit code.
            signal.signal(number, signal.SIG_IGN if number in self._heard else before or signal.SIG_DFL)

    def _is_news(self, number: int) -> bool:
        news = number not in self._heard and not self._closing
        self._heard.add(number)
        return news

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._is_news(number):
            raise KeyboardInterrupt

    def _end(self, number: int, frame: FrameType | None) -> None:
        if not self._is_news(signal.SIGTERM):
            return
        if self._stream is None:
            raise typer.Exit(0)
        self._stream.stop()

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - the terminal is gone, and writing there would fail
        self._end(number, frame)


def wait_for(work: Callable[[], Result]) -> Result:
    """Do what may hang in OpenCV in a thread, so that signals are heard meanwhile."""
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


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """End the process after the block where a thread of it hangs in OpenCV: the interpreter's end would abort it."""
    before = set(threading.enumerate())
    code = 0
    try:
        yield
    except typer.Exit as end:
        code = end.exit_code
        raise
    finally:
        failed = sys.exc_info()[0] not in (None, typer.Exit)  # a bug, which shows its traceback
        hangs = any(thread.name.startswith("fiqa-") for thread in set(threading.enumerate()) - before)
        if hangs and not failed:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            os._exit(code)
