"""Things that are made in the process that uses them."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Lazily(Generic[Thing]):
    """Makes a thing at the first call and gives the same one at each; a pickled copy makes its own.

    So a labeller travels to other processes and machines without its network on a GPU or its sessions of native code.

    Args:
        make: Makes the thing; must be picklable where the labeller is to travel.
    """

    def __init__(self, make: Callable[[], Thing]) -> None:
        self._make = make
        self._made: list[Thing] = []
        self._lock = threading.Lock()

    def __call__(self) -> Thing:
        with self._lock:
            if not self._made:
                self._made.append(self._make())
        return self._made[0]

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._make,)
