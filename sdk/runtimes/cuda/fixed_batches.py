"""A session of onnxruntime on a GPU, run in a few fixed batch sizes."""

import logging
import queue
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sdk.errors import ModelError
from sdk.runtimes.base import is_out_of_memory
from sdk.runtimes.cuda.driver import PinnedArray
from sdk.runtimes.dynamic_batching import WorkerPool

logger = logging.getLogger(__name__)

SIZES = (1, 8, 64, 256)
"""Batch sizes on CUDA. A batch is filled up to the next of them: a size that the session has not seen costs seconds."""

STAGES = 2
"""Arrays in main memory for each size: one is filled while the GPU computes the other."""

GRAPH_ID = "gpu_graph_id"
"""onnxruntime's run option: the number of the CUDA graph to capture or to launch; -1 for a run without one."""


@dataclass(slots=True)
class Bound:
    """What belongs to one batch size: memory on the GPU that stays where it is, and arrays to fill.

    Attributes:
        session: The session that runs it.
        binding: onnxruntime's I/O binding of the input and the output.
        faces: The input on the GPU, an `OrtValue`.
        options: Run options: those of its CUDA graph, or of a run without one.
        stages: Arrays in main memory that are free to be filled.
        pinned: The same, to free them.
    """

    session: Any
    binding: Any
    faces: Any
    options: Any
    stages: "queue.LifoQueue[NDArray[Any]]" = field(default_factory=queue.LifoQueue)
    pinned: list[PinnedArray] = field(default_factory=list)


class FixedBatches:
    """Runs batches on a session in fixed sizes, from any thread.

    One thread does all work on the GPU, because onnxruntime keeps a CUDA graph for the thread that captured it. The
    calling thread fills a pinned array meanwhile. Each size has its memory on the GPU and its graph, made when it is
    first used, so memory never grows.

    On CUDA each size has its own session, too. A session plans its convolutions anew when the size changes, and unloads
    the kernels that were compiled for the size before; a graph that holds one of them then ends in "illegal
    instruction" (seen with depthwise convolutions, onnxruntime 1.31, cuDNN 9.19).

    Args:
        session: An onnxruntime session, for the first size.
        another: Opens the session of a further size; None where all sizes share `session`.
        source: Name of its input.
        output: Name of its output.
        sizes: Batch sizes, ascending.
        device: onnxruntime's name of the memory: `cuda`, or `cpu` for tests without a GPU.
        number: Number of the GPU.
        graphs: Capture a CUDA graph for each size. The session must have been made for it (`enable_cuda_graph`).

    Attributes:
        captures: Number of CUDA graphs.
    """

    def __init__(
        self,
        session: Any,
        another: Callable[[], Any] | None,
        source: str,
        output: str,
        sizes: tuple[int, ...],
        device: str,
        number: int,
        graphs: bool,
    ) -> None:
        self._sessions, self._another = [session], another
        self._source, self._output, self._sizes = source, output, sizes
        self._device, self._number, self._graphs = device, number, graphs
        self._bound: dict[int, Bound] = {}
        self.captures = 0
        self._owner: WorkerPool[Callable[[], Any], Any] = WorkerPool(_do, 1, _closed)

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Run a batch (N, ...), N at most the largest size; return its output (N, ...)."""
        count = len(batch)
        size = next(size for size in self._sizes if size >= count)
        bound = self._bound.get(size) or self._on_gpu(lambda: self._bind(size, batch[:1]))
        stage = bound.stages.get()
        try:
            # What is left in the rest of the array does not matter: faces of a batch do not change each other's scores.
            stage[:count] = batch
            found: NDArray[Any] = self._on_gpu(lambda: self._launch(bound, stage))
        finally:
            bound.stages.put(stage)
        return found[:count] if len(found) == size else found

    def plan(self, face: NDArray[Any]) -> None:
        """Make all sizes ready for batches of such faces (1, ...), in about the time of one where each has a session.

        The sessions are opened and run once at the same time, a thread each: the library chooses and compiles kernels
        then. The graphs follow in turn, because nothing else may use the GPU while one is captured.
        """
        if self._another is None:
            for size in self._sizes:
                self._on_gpu(partial(self._bind, size, face))
            return
        missing = [size for size in self._sizes if size not in self._bound]
        with ThreadPoolExecutor(len(self._sizes)) as pool:
            found = list(pool.map(lambda size: self._first_run(size, face), missing))
        for size, bound in zip(missing, found, strict=True):
            self._on_gpu(partial(self._bind, size, face, bound))

    def close(self) -> None:
        """Free the memory and the session."""
        with suppress(ModelError):  # the interpreter is ending: the system frees all
            self._on_gpu(self._free)
        self._owner.close()

    def _on_gpu(self, work: Callable[[], Any]) -> Any:
        return self._owner.submit(work).result()

    def _launch(self, bound: Bound, stage: NDArray[Any]) -> NDArray[Any]:
        bound.faces.update_inplace(stage)
        bound.session.run_with_iobinding(bound.binding, bound.options)
        found: NDArray[Any] = bound.binding.copy_outputs_to_cpu()[0]
        return found

    def _bind(self, size: int, face: NDArray[Any], bound: Bound | None = None) -> Bound:
        """Make a batch size ready: its first run, unless that was done, its CUDA graph, and arrays to fill."""
        if size in self._bound:  # another thread was first
            return self._bound[size]
        bound = bound or self._first_run(size, face)
        if self._graphs:
            self._capture(bound, size)
        for _ in range(STAGES):
            bound.stages.put(self._stage(bound, (size, *face.shape[1:]), face.dtype))
        self._bound[size] = bound
        return bound

    def _first_run(self, size: int, face: NDArray[Any]) -> Bound:
        """Take memory for a batch size, and run it once. Any thread may do that, but not while a graph is captured."""
        import onnxruntime

        session = self._session()
        full, dtype = (size, *face.shape[1:]), face.dtype
        faces = onnxruntime.OrtValue.ortvalue_from_shape_and_type(full, dtype, self._device, self._number)
        faces.update_inplace(np.zeros(full, dtype))
        binding = session.io_binding()
        binding.bind_ortvalue_input(self._source, faces)
        binding.bind_output(self._output, self._device, self._number)
        bound = Bound(session, binding, faces, _run_options(-1))
        session.run_with_iobinding(binding, bound.options)  # chooses kernels, takes memory, gives the output
        return bound

    def _session(self) -> Any:
        """Return the session of a further size."""
        if self._another is None:
            return self._sessions[0]
        try:
            return self._sessions.pop()
        except IndexError:
            return self._another()

    def _capture(self, bound: Bound, size: int) -> None:
        """Make the runs of a size one CUDA graph. Its output stays where the first run has put it."""
        binding, options = bound.binding, _run_options(size)
        try:
            binding.bind_ortvalue_output(self._output, binding.get_outputs()[0])
            bound.session.run_with_iobinding(binding, options)
        except Exception as error:  # onnxruntime's errors have no base class of their own
            if is_out_of_memory(error):
                raise
            logger.warning("batches of %d run without a CUDA graph, which is slower: %s", size, error)
            return
        bound.options = options
        self.captures += 1

    def _stage(self, bound: Bound, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        if self._device == "cpu":
            return np.zeros(shape, dtype)
        try:
            bound.pinned.append(PinnedArray(shape, dtype))
        except OSError as error:
            logger.warning("faces are copied from memory that is not pinned, which is slower: %s", error)
            return np.zeros(shape, dtype)
        return bound.pinned[-1].values

    def _free(self) -> None:
        for bound in self._bound.values():
            for array in bound.pinned:
                array.free()
        self._bound = {}
        self._sessions = []


def _run_options(graph: int) -> Any:
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry(GRAPH_ID, str(graph))
    return options


def _do(jobs: Iterable[Callable[[], Any]]) -> list[Any]:
    return [job() for job in jobs]


def _closed() -> ModelError:
    return ModelError("the session is closed; make a new QualityScorer")
