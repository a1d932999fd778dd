"""Objects that each process makes for itself."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Lazy(Generic[Made]):
    """Makes an object at the first call and returns the same one at each later call. A pickled copy makes its own.

    A labeller keeps its network in one of these. So it can be pickled for other processes and machines, although a
    network on a GPU and a session of native code cannot.

    Args:
        make: Makes the object. It must be picklable itself where the labeller is to be pickled.
    """

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._made: list[Made] = []
        self._lock = threading.Lock()

    def __call__(self) -> Made:
        with self._lock:
            if not self._made:
                self._made.append(self._make())
        return self._made[0]

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._make,)
