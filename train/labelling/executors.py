"""Engines that compute batches: threads of this process, or Ray on many machines."""

import logging
import os
import sys
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

import pyarrow as pa

from sdk.errors import FiqaError, InputError
from sdk.parallel import bounded_map
from sdk.stopping import handlers_kept

Work = Callable[[pa.Table], pa.Table]
"""Computes finished rows from a batch of rows; picklable."""

BATCHES_A_BLOCK = 16
"""Most batches in a block, which a Ray worker takes at once. Few keep the journal up to date, many cost Ray less."""


PREPARING = 8
"""Most threads that load faces and draw noise for a GPU, by default. DifFIQA takes 56 ms of one for a face."""


class Engine(Protocol):
    """Computes a table in batches. `device` is the torch device of the work: `cpu`, `cuda`, ..."""

    device: str

    def map(self, work: Work, table: pa.Table, batch_size: int) -> Generator[pa.Table, None, None]:
        """Yield finished rows as they come, in any order. Batches begin at multiples of the batch size."""


class Threads:
    """Threads of this process.

    Args:
        callers: Number of threads; each has one batch at a time.
        device: Device of the torch networks.
    """

    def __init__(self, callers: int = 1, device: str = "cpu") -> None:
        self._callers, self.device = callers, device

    def map(self, work: Work, table: pa.Table, batch_size: int) -> Generator[pa.Table, None, None]:
        """Yield finished rows in the order of the table, see `Engine`."""
        batches = (table.slice(start, batch_size) for start in range(0, len(table), batch_size))
        with ThreadPoolExecutor(self._callers) as pool:
            yield from bounded_map(pool, work, batches, 2 * self._callers)


class RayWorkers:
    """Processes of a Ray cluster, through Ray Data.

    Args:
        ray: The module `ray`, connected to a cluster.
        callers: Number of processes.
        device: `cpu` (a core for each) or `cuda` (half a GPU for each, so that one reads while another computes).
    """

    def __init__(self, ray: Any, callers: int, device: str) -> None:
        self._ray, self._callers, self.device = ray, callers, device

    def map(self, work: Work, table: pa.Table, batch_size: int) -> Generator[pa.Table, None, None]:
        """Yield finished rows, see `Engine`. Ray replaces a worker that dies, and does its blocks again."""
        batches = max(1, min(BATCHES_A_BLOCK, len(table) // (4 * self._callers * batch_size)))
        size = batches * batch_size
        if len(table) == 0:
            return
        blocks = [table.slice(start, size).combine_chunks() for start in range(0, len(table), size)]
        data = self._ray.data.from_arrow(blocks).map_batches(
            _Worker,
            fn_constructor_args=(work, batch_size),
            batch_size=None,  # a block as it is; the worker cuts it into batches
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
"""Row number that says: this worker cannot work at all. Ray passes on the text of an exception, but not its type."""


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
    """Open an engine. When it is closed, the number of torch's threads is as before, and a Ray started here is stopped.

    Args:
        name: `plain` or `ray`. Ray connects to the cluster of RAY_ADDRESS, else to one on this machine, else it starts
            one here.
        callers: Threads or processes; by default one a core of the machine or the cluster; for a GPU up to
            `PREPARING` threads, or 2 processes of Ray.
        device: `auto`, `cpu`, `cuda`, ...; None where the work does not use torch.

    Raises:
        InputError: The name is unknown, Ray is not installed, or there is no such device.
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
    callers = callers or (cores if found.type == "cpu" else min(cores, PREPARING))
    threads = torch.get_num_threads()
    if found.type == "cpu":
        torch.set_num_threads(max(1, threads // callers))
    try:
        yield Threads(callers, str(found))
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Drop what libraries write to the standard error: Ray says at its start that it will be quiet."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


@contextmanager
def _ray_workers(callers: int | None, device: str | None) -> Iterator[Engine]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would send statistics to its makers
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it warns about what it repairs; failures are exceptions
    try:
        with handlers_kept():
            import ray
            import ray.data
    except ImportError as error:
        raise InputError(f"--engine ray needs Ray ({error}); pip install 'fiqa[scale]', or take plain") from error
    started = not ray.is_initialized()
    if started:
        with handlers_kept(), _no_stderr():
            ray.init(logging_level=logging.ERROR, log_to_driver=False)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False  # fiqa has its own
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
