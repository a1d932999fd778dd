"""Single faces from many threads become batches: whoever comes within a few milliseconds is scored together."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

Job = tuple[NDArray[np.uint8], "Future[float]"]


class WaitingRoom:
    """Collects faces and scores them together.

    Args:
        run: Scores uint8 (N, 112, 112, 3), giving float32 (N,).
        most: Most faces of a batch.
        seconds: How long the first face of a batch waits for others.
        workers: How many batches are scored at once.
    """

    def __init__(
        self, run: Callable[[NDArray[np.uint8]], NDArray[np.float32]], most: int, seconds: float, workers: int
    ) -> None:
        self._run, self._most, self._seconds = run, most, seconds
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        self._door = threading.Lock()
        self._open = True
        self._workers = [
            threading.Thread(target=self._work, name=f"fiqa-wait-{n}", daemon=True) for n in range(workers)
        ]
        for worker in self._workers:
            worker.start()

    def score(self, face: NDArray[np.uint8]) -> float | None:
        """Score a face, together with those that others bring; None when the room is closed."""
        answer: Future[float] = Future()
        with self._door:
            if not self._open:
                return None
            self._jobs.put((face, answer))
        return answer.result()

    def close(self) -> None:
        """Score who waits, then end the workers. Closing twice is no error."""
        with self._door:
            if self._open:
                self._open = False
                for _ in self._workers:
                    self._jobs.put(None)
        for worker in self._workers:
            worker.join()

    def _work(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs, last = self._collect(first)
            try:
                scores = self._run(np.stack([face for face, _ in jobs]))
            except BaseException as error:  # noqa: BLE001  # it belongs to the callers, who wait for it
                for _, answer in jobs:
                    answer.set_exception(error)
            else:
                for (_, answer), score in zip(jobs, scores, strict=True):
                    answer.set_result(float(score))
            if last:
                return

    def _collect(self, first: Job) -> tuple[list[Job], bool]:
        """A batch, and whether the end came while it was collected."""
        jobs, until = [first], time.monotonic() + self._seconds
        while len(jobs) < self._most:
            try:
                job = self._jobs.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            jobs.append(job)
        return jobs, False
