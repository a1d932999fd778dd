"""The fastest batch size of a model on this machine: measured on the user's own faces, kept for the next time."""

import hashlib
import json
import logging
import platform
import threading
from collections.abc import Iterable

from sdk.files.cache import find_in_cache, keep_in_cache
from sdk.models.loading import Model
from sdk.runtimes.base import Runtime

logger = logging.getLogger(__name__)

TRIES = 3
"""Number of times that each size is tried. The shortest time counts, because other work can only make a call slower."""

CALL = 12
"""Faces that a GPU computes in the time that a call takes in any case: launching, copying, waiting."""


class BatchSizes:
    """Splits faces into batches, and learns from their times which size is fastest. Several threads may share one.

    Args:
        most: Most faces that one call takes. The sizes to try are the powers of two below it, and itself.
        key: Name of the result in the cache; see `cache_key`.
    """

    def __init__(self, most: int, key: str) -> None:
        self.sizes = sorted({*(1 << power for power in range(most.bit_length())), most})
        self._key = key
        self._times: dict[int, list[float]] = {size: [] for size in self.sizes}
        self._lock = threading.Lock()
        self._best: int | None = None if len(self.sizes) > 1 else most
        self._loaded = len(self.sizes) == 1

    def split(count: int, sizes: tuple[int, ...]) -> list[int]:
    """Return the sizes of the batches into which `count` faces are split, when batches are filled up to `sizes`.

    The largest size comes as often as it is full. The rest is one batch, or several full ones and one, whichever costs
    less: a call costs as much as `CALL` faces, and a face that only fills up as much as any other.
    """
    rest = count % sizes[-1]
    return [sizes[-1]] * (count // sizes[-1]) + (_cheapest(rest, sizes) if rest else [])


def _cheapest(count: int, sizes: tuple[int, ...]) -> list[int]:
    def cost(parts: list[int]) -> int:
        return sum(CALL + next(size for size in sizes if size >= part) for part in parts)

    full = max((size for size in sizes if size < count), default=0)
    apart = [full, *_cheapest(count - full, sizes)] if full else [count]
    return min([count], apart, key=cost)


def consecutive_slices(sizes: Iterable[int]) -> list[slice]:
    """Return slices of these sizes, each beginning where the one before ends."""
    slices, start = [], 0
    for size in sizes:
        slices.append(slice(start, start + size))
        start += size
    return slices
