"""Work on several threads, with the results in order and a limit on the items in flight."""

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
    """Call a function on each item, like `pool.map`, with at most `ahead` items in flight.

    If the caller stops early, items that have not begun are cancelled.

    Args:
        pool: The threads.
        function: Called with each item.
        items: Taken one by one, as there is room.
        ahead: Most items in flight, at least 1. It limits the memory.

    Yields:
        The results, in the order of the items.

    Raises:
        DeviceError: The process was forked after the first item. The new process does not have the pool's threads.
    """
    in_flight: deque[Future[Result]] = deque()
    process = os.getpid()
    try:
        for item in items:
            in_flight.append(pool.submit(function, item))
            if len(in_flight) >= ahead:
                yield in_flight.popleft().result()
                _check_process(process)
        while in_flight:
            yield in_flight.popleft().result()
            _check_process(process)
    finally:
        for future in in_flight:
            future.cancel()


def _check_process(began_in: int) -> None:
    if os.getpid() != began_in:
        raise DeviceError("work on threads cannot go on in a forked process; begin it again there")
