"""Worker threads that share a model: for the batches of one call, or to score single faces of many callers together."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from sdk.errors import DeviceError
from sdk.runtimes.per_process import ForkAware, is_leaving, stop_at_exit

Job = TypeVar("Job")
Result = TypeVar("Result")

if TYPE_CHECKING:
    from concurrent.futures import Future

    Jobs = queue.SimpleQueue[tuple[Job, Future[Result]] | None]


class WorkerPool(ForkAware, Generic[Job, Result]):
    """Threads that do jobs. A thread starts when a job comes and ends with `close`.

    The threads hold a reference to `run`, not to the pool, so a dropped pool can be collected.

    Args:
        run: Does jobs; returns the result of each that it took, in their order. One that it does not take waits for
            the next call, and can be cancelled.
        threads: Most threads.
        closed: Makes the error of a job that comes after `close`, or has not begun then.
        most: Most jobs of one call of `run`.
        seconds: How long the first job of such a call waits for others, seconds.
    """

    def __init__(
        self,
        run: Callable[[Iterator[Job]], Iterable[Result]],
        threads: int,
        closed: Callable[[], Exception],
        *,
        most: int = 1,
        seconds: float = 0.0,
    ) -> None:
        self._run, self._most, self._seconds = run, most, seconds
        self._limit, self._make_error = threads, closed
        self._closed = False
        self.renew_after_fork()
        super().__init__()

    def renew_after_fork(self) -> None:
        """See `ForkAware.renew_after_fork`."""
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        # `SimpleQueue` is reentrant: the garbage collector may call `close` in a thread that is inside the queue.
        self._jobs: Jobs[Job, Result] = queue.SimpleQueue()

    def submit(self, job: Job) -> "Future[Result]":
        """Hand over a job; return the future of its result.

        Raises:
            Exception: The pool is closed; the error is made by `closed`.
            DeviceError: The system gives no thread.
        """
        from concurrent.futures import Future  # imported late: 4 ms that a scorer of single faces does not need

        stop_at_exit()
        with self._lock:
            if self._closed or is_leaving():
                raise self._make_error()
            self._start_thread()
            future: Future[Result] = Future()
            self._jobs.put((job, future))
            return future

    def map(self, jobs: Iterable[Job]) -> list[Result]:
        """Do all jobs; return their results in order. If one fails, those that have not begun are cancelled."""
        futures: list[Future[Result]] = []
        try:
            futures.extend(self.submit(job) for job in jobs)
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def close(self) -> None:
        """End each thread after its current job. Jobs that have not begun fail. May be called twice."""
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
            for _ in self._threads:
                self._jobs.put(None)
        for _, future in left:
            if future.set_running_or_notify_cancel():
                future.set_exception(self._make_error())

    def join(self, seconds: float) -> bool:
        """Wait after `close` until the threads have ended; return whether they have within `seconds`."""
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _start_thread(self) -> None:
        if len(self._threads) == self._limit:
            return
        arguments = (self._jobs, self._run, self._most, self._seconds)
        try:
            thread = threading.Thread(target=_work, args=arguments, name=f"fiqa-{len(self._threads)}", daemon=True)
            thread.start()
            self._threads.append(thread)
        except RuntimeError as error:
            if not self._threads:  # else the running threads do all jobs
                raise DeviceError(f"no thread can be started ({error}); end others, or use threads=1") from error


def _work(
    jobs: "Jobs[Job, Result]", run: Callable[[Iterator[Job]], Iterable[Result]], most: int, seconds: float
) -> None:
    while _do_next(jobs, run, most, seconds):  # a separate function: an idle thread keeps no job and no result alive
        pass


def _do_next(
    jobs: "Jobs[Job, Result]", run: Callable[[Iterator[Job]], Iterable[Result]], most: int, seconds: float
) -> bool:
    """Do the next jobs; return False when the pool is closed."""
    first = jobs.get()
    if first is None:
        return False
    job, future = first
    if not future.set_running_or_notify_cancel():
        return True
    begun = [future]
    try:
        results = list(run(_take(job, begun, jobs, most, seconds)))
    except BaseException as error:  # noqa: BLE001  # raised again in the callers, by their futures
        for future in begun:
            future.set_exception(error)
    else:
        for future, result in zip(begun, results, strict=True):
            future.set_result(result)
    return True


def _take(
    job: Job, begun: "list[Future[Result]]", jobs: "Jobs[Job, Result]", most: int, seconds: float
) -> Iterator[Job]:
    """Give a job, and up to `most - 1` others that come within `seconds`; without, of those that wait now.

    Each is taken when it is asked for, and its future is appended to `begun`.
    """
    until = time.monotonic() + seconds
    most = most if seconds else min(most, 1 + jobs.qsize())
    yield job
    while len(begun) < most:
        try:
            taken = jobs.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return
        if taken is None:
            jobs.put(None)  # put back: this thread ends after the jobs that it has taken
            return
        if taken[1].set_running_or_notify_cancel():
            begun.append(taken[1])
            yield taken[0]
