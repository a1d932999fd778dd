"""A pool collects jobs, hands errors to their callers, and ends."""

import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from sdk import ModelError
from sdk.runtimes.dynamic_batching import WorkerPool


@pytest.fixture
def pool() -> Iterator[tuple[WorkerPool[int, int], list[int]]]:
    """Return a pool whose one thread collects up to four numbers, and the list of how many it got each time."""
    sizes: list[int] = []

    def run(numbers: Any) -> list[int]:
        numbers = list(numbers)
        sizes.append(len(numbers))
        if 255 in numbers:
            raise ModelError("broken")
        return [2 * number for number in numbers]

    pool = WorkerPool(run, 1, partial(ModelError, "closed"), most=4, seconds=0.05)
    yield pool, sizes
    pool.close()


def test_jobs_are_done_together(pool: tuple[WorkerPool[int, int], list[int]]) -> None:
    assert pool[0].map(range(8)) == [*range(0, 16, 2)]
    assert pool[1] == [4, 4]


def test_a_single_job_waits_no_longer_than_said(pool: tuple[WorkerPool[int, int], list[int]]) -> None:
    start = time.monotonic()
    assert pool[0].submit(7).result() == 14
    assert time.monotonic() - start > 0.04


def test_an_error_reaches_its_callers_and_the_pool_goes_on(pool: tuple[WorkerPool[int, int], list[int]]) -> None:
    with pytest.raises(ModelError, match="broken"):
        pool[0].map([1, 255])
    assert pool[0].map([3]) == [6]
    pool[0].close()
    pool[0].close()
    with pytest.raises(ModelError, match="closed"):
        pool[0].submit(3)


def test_what_waits_at_the_end_gets_the_error() -> None:
    began, go = threading.Event(), threading.Event()

    def run(jobs: Any) -> Any:
        began.set()
        go.wait(60)
        return jobs

    pool = WorkerPool(run, 1, partial(ModelError, "closed"))
    first, second = pool.submit(1), pool.submit(2)
    began.wait(60)
    pool.close()
    with pytest.raises(ModelError, match="closed"):
        second.result(60)
    go.set()
    assert first.result(60) == 1
