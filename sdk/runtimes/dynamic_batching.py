"""Threads that share a model: parts of a batch, or single faces that are scored together."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from sdk.errors import DeviceError
from sdk.runtimes.per_process import PerProcess, is_leaving, stop_at_exit

Job = TypeVar("Job")
Result = TypeVar("Result")

if TYPE_CHECKING:
    from concurrent.futures import Future

    Jobs = queue.SimpleQueue[tuple[Job, Future[Result]] | None]


class Crew(PerProcess, Generic[Job, Result]):
    """Threads that do jobs; each starts with a job and ends with `close`. They hold `run`, not the crew.

    Args:
        run: Does jobs, giving as many results in their order.
        threads: Most threads.
        closed: Makes the error for jobs that come after `close`, or still wait then.
        most: Most jobs that `run` gets at once.
        seconds: How long the first of these waits for others.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Job]], Iterable[Result]],
        threads: int,
        closed: Callable[[], Exception],
        *,
        most: int = 1,
        seconds: float = 0.0,
    ) -> None:
        self._run, self._most, self._seconds = run, most, seconds
        self._limit, self._make_error = threads, closed
        self._closed = False
        self.renew()
        super().__init__()

    def renew(self) -> None:
        """See `PerProcess.renew`."""
        self._lock = threading.Lock()
        self._started = 0
        # A simple queue, for another one's lock may be held by the thread that collects garbage and calls `close`.
        self._jobs: Jobs[Job, Result] = queue.SimpleQueue()

    def send(self, job: Job) -> "Future[Result]":
        """Have a job done.

        Raises:
            DeviceError: The system gives no thread.
        """
        from concurrent.futures import Future  # 4 ms that who scores single faces does without

        stop_at_exit()
        with self._lock:
            if self._closed or is_leaving():
                raise self._make_error()
            self._start_thread()
            answer: Future[Result] = Future()
            self._jobs.put((job, answer))
            return answer

    def do(self, jobs: Iterable[Job]) -> list[Result]:
        """Have jobs done; where one fails, those that have not begun are dropped."""
        answers: list[Future[Result]] = []
        try:
            answers.extend(map(self.send, jobs))
            return [answer.result() for answer in answers]
        except BaseException:
            for answer in answers:
                answer.cancel()
            raise

    def close(self) -> None:
        """End the threads after what they do now; what waits gets the error. May be called twice."""
        left: list[tuple[Job, Future[Result]]] = []
        with self._lock:
            if self._closed:
                return
            self._closed = True
            while not self._jobs.empty():
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                left += [job] if job is not None else []
            for _ in range(self._started):
                self._jobs.put(None)
        for _, answer in left:
            if answer.set_running_or_notify_cancel():
                answer.set_exception(self._make_error())

    def _start_thread(self) -> None:
        if self._started == self._limit:
            return
        arguments = (self._jobs, self._run, self._most, self._seconds)
        try:
            threading.Thread(target=_work, args=arguments, name=f"fiqa-{self._started}", daemon=True).start()
            self._started += 1
        except RuntimeError as error:
            if not self._started:  # else those that run do all
                raise DeviceError(f"no thread can be started ({error}); end others, or use threads=1") from error


def _work(
    jobs: "Jobs[Job, Result]", run: Callable[[Sequence[Job]], Iterable[Result]], most: int, seconds: float
) -> None:
    while _do_next(jobs, run, most, seconds):  # a function of its own, so that an idle thread holds nothing
        pass


def _do_next(
    jobs: "Jobs[Job, Result]", run: Callable[[Sequence[Job]], Iterable[Result]], most: int, seconds: float
) -> bool:
    """Do what comes next; False at the end."""
    first = jobs.get()
    if first is None:
        return False
    taken = [first, *_collect(jobs, most - 1, seconds)]
    wanted = [(job, answer) for job, answer in taken if answer.set_running_or_notify_cancel()]
    if not wanted:
        return True
    try:
        results = list(run([job for job, _ in wanted]))
    except BaseException as error:  # noqa: BLE001  # it belongs to the callers, who wait for it
        for _, answer in wanted:
            answer.set_exception(error)
    else:
        for (_, answer), result in zip(wanted, results, strict=True):
            answer.set_result(result)
    return True


def _collect(jobs: "Jobs[Job, Result]", most: int, seconds: float) -> list[tuple[Job, "Future[Result]"]]:
    """Up to `most` jobs that come within so many seconds."""
    found: list[tuple[Job, Future[Result]]] = []
    until = time.monotonic() + seconds
    while len(found) < most:
        try:
            job = jobs.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            break
        if job is None:
            jobs.put(None)  # for this thread, when it has done what it holds
            break
        found.append(job)
    return found
