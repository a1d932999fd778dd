"""Where batches are computed: on threads of this process, or by Ray on many machines."""

import logging
import os
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

import pyarrow as pa

from sdk.errors import FiqaError, InputError
from sdk.parallel import bounded_map
from sdk.stopping import handlers_kept

Work = Callable[[pa.Table], pa.Table]
"""Rows to do -> rows done; picklable."""

BATCHES_A_BLOCK = 16
"""At most so many batches are handed to a Ray worker at once: often enough for the journal, seldom enough for Ray."""


class Engine(Protocol):
    """Computes a table by batches. `device` is the torch device for what it computes, `cpu`, `cuda`, ..."""

    device: str

    def map(self, work: Work, table: pa.Table, batch_size: int) -> Generator[pa.Table, None, None]:
        """Finished rows as they come, in any order; batches begin at multiples of the batch size."""


class Threads:
    """Threads of this process.

    Args:
        callers: How many; each has a batch at a time.
        device: Of the torch networks.
    """

    def __init__(self, callers: int = 1, device: str = "cpu") -> None:
        self._callers, self.device = callers, device

    def map(self, work: Work, table: pa.Table, batch_size: int) -> Generator[pa.Table, None, None]:
        """See `Engine`; in order."""
        batches = (table.slice(start, batch_size) for start in range(0, len(table), batch_size))
        with ThreadPoolExecutor(self._callers) as pool:
            yield from bounded_map(pool, work, batches, 2 * self._callers)


class RayWorkers:
    """Processes of a Ray cluster, through Ray Data.

    Args:
        ray: The module, connected to a cluster.
        callers: How many processes.
        device: `cpu` (a core each) or `cuda` (half a GPU each, so that one reads while the other computes).
    """

    def __init__(self, ray: Any, callers: int, device: str) -> None:
        self._ray, self._callers, self.device = ray, callers, device

    def map(self, work: Work, table: pa.Table, batch_size: int) -> Generator[pa.Table, None, None]:
        """See `Engine`; a worker that dies is replaced by Ray and its blocks are done again."""
        batches = max(1, min(BATCHES_A_BLOCK, len(table) // (4 * self._callers * batch_size)))
        size = batches * batch_size
        if len(table) == 0:
            return
        blocks = [table.slice(start, size).combine_chunks() for start in range(0, len(table), size)]
        data = self._ray.data.from_arrow(blocks).map_batches(
            _Worker,
            fn_constructor_args=(work, batch_size),
            batch_size=None,  # a block as it is, for its rows are batches already
            batch_format="pyarrow",
            compute=self._ray.data.ActorPoolStrategy(size=self._callers),
            num_cpus=1,
            num_gpus=0.5 if self.device == "cuda" else 0,
        )
        for done in data.iter_batches(batch_size=None, batch_format="pyarrow"):
            if done["row"][0].as_py() == GAVE_UP:
                raise FiqaError(f"a worker gave up: {done['error'][0]}")
            yield done


GAVE_UP = -1
"""In the place of a row: the worker could not work at all. Ray keeps the text of an exception, but not its type."""


class _Worker:
    def __init__(self, work: Work, batch_size: int) -> None:
        self._work, self._batch_size = work, batch_size

    def __call__(self, table: pa.Table) -> pa.Table:
        starts = range(0, len(table), self._batch_size)
        try:
            return pa.concat_tables([self._work(table.slice(start, self._batch_size)) for start in starts])
        except FiqaError as error:
            return pa.table({"row": [GAVE_UP], "error": [str(error)]})


@contextmanager
def open_engine(name: str, callers: int | None = None, device: str | None = None) -> Iterator[Engine]:
    """Open an engine, with torch's threads or Ray's cluster for as long as it is needed.

    Args:
        name: `plain` or `ray`. Ray is connected to the cluster of RAY_ADDRESS, else to one that runs on this machine,
            else one is started here for the time.
        callers: Threads or processes that compute; by default one a core of the machine or the cluster, 2 a GPU.
        device: `auto`, `cpu`, `cuda`, ...; None for what uses no torch.

    Raises:
        InputError: The name is unknown, Ray is not installed, or the device is not there.
    """
    if name == "plain":
        with _threads(callers, device) as engine:
            yield engine
    elif name == "ray":
        with _ray_workers(callers, device) as engine:
            yield engine
    else:
        raise InputError(f"engine is {name!r}, wanted plain or ray")


@contextmanager
def _threads(callers: int | None, device: str | None) -> Iterator[Engine]:
    cores = os.cpu_count() or 1
    if device is None:
        yield Threads(callers or cores)
        return
    import torch

    from train.networks.recognition import device_of

    found = device_of(device)
    callers = callers or (cores if found.type == "cpu" else 2)
    threads = torch.get_num_threads()
    if found.type == "cpu":
        torch.set_num_threads(max(1, threads // callers))
    try:
        yield Threads(callers, str(found))
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _ray_workers(callers: int | None, device: str | None) -> Iterator[Engine]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to others unless the user wants it
    try:
        with handlers_kept():
            import ray
            import ray.data
    except ImportError as error:
        raise InputError(f"--engine ray needs Ray ({error}); pip install 'fiqa[scale]', or take plain") from error
    started = not ray.is_initialized()
    if started:
        with handlers_kept():
            ray.init(logging_level=logging.WARNING, log_to_driver=False)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False  # fiqa shows its own
    try:
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        chosen = ("cuda" if gpus else "cpu") if device == "auto" else device or "cpu"
        if chosen not in ("cpu", "cuda") or (chosen == "cuda" and not gpus):
            raise InputError(
                f"device is {device!r} and the cluster has {gpus} GPUs; Ray gives each worker its own, so take auto, "
                "cpu, or cuda where there are any"
            )
        available = 2 * gpus if chosen == "cuda" else int(resources.get("CPU", 1))
        yield RayWorkers(ray, callers or max(1, available), chosen)
    finally:
        if started:
            ray.shutdown()
