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

    def split(self, count: int, callers: int) -> list[int]:
        """Return the sizes of the batches into which `count` faces are split for `callers` threads.

        While the fastest size is unknown and there are enough faces, the batches try every size. No face is scored
        twice for it.
        """
        if count <= callers:
            return [1] * count
        if not self._loaded:
            self._best, self._loaded = self._load(), True
        trial = self.sizes * TRIES
        parts = trial if self._best is None and count >= sum(trial) else []
        rest = count - sum(parts)
        size = max(1, min(self._best or self.sizes[-1], -(-rest // callers)))
        return [*parts, *[size] * (rest // size), *([rest % size] if rest % size else [])]

    def record(self, size: int, seconds: float) -> None:
        """Record how long a call with `size` faces took. After the last try the fastest size is kept in the cache."""
        with self._lock:
            if self._best is not None or len(self._times.get(size, [0.0] * TRIES)) >= TRIES:
                return
            self._times[size].append(seconds / size)
            if all(len(times) >= TRIES for times in self._times.values()):
                self._best = min(self._times, key=lambda size: min(self._times[size]))
                self._save()

    def _load(self) -> int | None:
        try:
            best = json.loads(find_in_cache("batches", f"{self._key}.json") or b"{}")["batch"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return best if type(best) is int and best in self.sizes else None

    def _save(self) -> None:
        seconds = {str(size): min(times) for size, times in self._times.items()}
        logger.info("batches of %d are fastest; seconds a face: %s", self._best, seconds)
        values = {"batch": self._best, "seconds_per_face": seconds}
        keep_in_cache(json.dumps(values).encode(), "batches", f"{self._key}.json")


def cache_key(model: Model, runtime: Runtime, callers: int) -> str:
    """Return the name under which the fastest size for a model, this machine, a device and `callers` threads is kept.

    The card and the sizes of the files identify the model. Hashing a large file would take longer than scoring a face.
    """
    machine = (platform.node(), platform.machine(), runtime.device, runtime.precision, callers)
    parts = (model.card.to_json(), len(model.data), len(model.weights), machine, runtime.batch)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


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
