"""Work on several threads, in order and within bounds."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from sdk.errors import DeviceError

Item = TypeVar("Item")
Result = TypeVar("Result")


def bounded_map(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """`pool.map` in order, with at most `ahead` items in flight, so that memory stays bounded.

    What is still waiting when the caller stops, by an error for example, is cancelled.

    Raises:
        DeviceError: The process was forked since the first item: the pool's threads are not in this one.
    """
    waiting: deque[Future[Result]] = deque()
    process = os.getpid()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
                _check_process(process)
        while waiting:
            yield waiting.popleft().result()
            _check_process(process)
    finally:
        for future in waiting:
            future.cancel()


def _check_process(began_in: int) -> None:
    if os.getpid() != began_in:
        raise DeviceError("work on threads cannot go on in a forked process; begin it again there")
