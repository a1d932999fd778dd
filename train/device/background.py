"""Files that are written beside the training, not in it."""

import logging
import threading
from collections.abc import Callable
from queue import Queue
from types import TracebackType
from typing import Any

from torch import Tensor

logger = logging.getLogger(__name__)

WAITING = 2
"""Most files that wait. Each holds a copy of what it is to contain, and a checkpoint is two files."""


def snapshot(value: Any) -> Any:
    """Copy tensors to main memory, also those in dictionaries, lists and tuples; keep other values as they are."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: snapshot(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(snapshot(part) for part in value)
    return value


class BackgroundWriter:
    """Writes files in a thread of its own, one after another in the order in which they were given.

    It is a context manager: at its end all files are written. After an error nothing more is written, and the next call
    or the end raises the error.
    """

    def __init__(self) -> None:
        self._waiting: Queue[Callable[[], object] | None] = Queue(WAITING)
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def write(self, work: Callable[[], object]) -> None:
        """Let the thread call a function that writes a file. Waits while `WAITING` files wait.

        Raises:
            FiqaError: A file before could not be written.
        """
        self.check()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="fiqa-writer")
            self._thread.start()
        self._waiting.put(work)

    def check(self) -> None:
        """Raise the error of a file that could not be written."""
        if self._error is not None:
            raise self._error

    def __enter__(self) -> "BackgroundWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None
        if error is None:
            self.check()
        elif self._error is not None and error is not self._error:
            logger.error("besides, a file could not be written: %s", self._error)

    def _run(self) -> None:
        while (work := self._waiting.get()) is not None:
            if self._error is None:
                try:
                    work()
                except BaseException as error:  # noqa: BLE001 - raised by the thread that trains
                    self._error = error
