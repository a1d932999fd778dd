"""SharedRuntime: a model in its runtime, and the threads that share it."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.alignment import CROP_SHAPE, CROP_SIZE
from sdk.errors import DeviceError, ModelError
from sdk.models.card import InputSpec, ModelCard
from sdk.models.loading import Model, load_model
from sdk.runtimes.base import PlansAhead, Runtime
from sdk.runtimes.batch_sizes import BatchSizes, cache_key, consecutive_slices, split
from sdk.runtimes.dynamic_batching import WorkerPool
from sdk.runtimes.per_process import ForkAware, NativeHandle
from sdk.runtimes.registry import open_runtime

Faces = NDArray[np.uint8]
Scores = NDArray[np.float32]


class SharedRuntime(ForkAware):
    """Scores faces on one runtime, from any thread.

    Its worker threads hold a reference to it, and it holds none to the scorer: a dropped scorer can be collected.

    Args:
        model: The model in the runtime.
        runtime: The runtime; closed by `close`.
        reopen: Opens the runtime again in a forked process, or raises a typed error.
        threads: Number of threads that share the runtime in `score_batch`.
        wait: Seconds that a face in `score` waits for faces of other threads; 0 for no wait.

    Attributes:
        batch: Most faces of one call of `run`.
    """

    def __init__(
        self, model: Model, runtime: Runtime, reopen: Callable[[], Runtime], threads: int, wait: float
    ) -> None:
        self.batch, self._fixed = runtime.batch, runtime.sizes
        self._input = model.card.input
        self._threads = threads
        closed = partial(closed_error, model.card.name)
        self._handle: NativeHandle[Runtime] = NativeHandle(runtime, reopen, lambda old: old.close(), closed)
        self._make_sizes = partial(BatchSizes, runtime.batch, cache_key(model, runtime, threads))
        # The pools run methods of this object: a cycle that `close` ends.
        self._workers: WorkerPool[Sequence[Faces] | Faces, Scores] = WorkerPool(
            lambda parts: map(self._run_timed, parts), threads, closed
        )
        self._batcher: WorkerPool[Faces, np.float32] | None = None
        if wait:
            self._batcher = WorkerPool(
                lambda faces: self.run(list(faces)), threads, closed, most=runtime.batch, seconds=wait
            )
        self.renew_after_fork()
        super().__init__()

    def renew_after_fork(self) -> None:
        """See `ForkAware.renew_after_fork`."""
        self._sizes = self._make_sizes()

    def score(self, face: Faces) -> float:
        """Score one face, uint8 (112, 112, 3): at once, or with faces of other threads if `wait` was given."""
        return float(self.run(face[None])[0] if self._batcher is None else self._batcher.submit(face).result())

    def score_batch(self, faces: Sequence[Faces] | Faces) -> Scores:
        """Score faces, (N, 112, 112, 3) or N arrays of (112, 112, 3); return float32 (N,)."""
        self.check()
        count = len(faces)
        sizes = split(count, self._fixed) if self._fixed else self._sizes.split(count, self._threads)
        parts = [faces[part] for part in consecutive_slices(sizes)]
        scores = [self._run_timed(part) for part in parts] if len(parts) < 2 else self._workers.map(parts)
        return np.concatenate([np.empty(0, np.float32), *scores])

    def warmup(self) -> None:
        """Run every batch size that the runtime fills batches up to; or one face and the largest batch."""
        with self._handle as runtime:
            if isinstance(runtime, PlansAhead):
                runtime.plan(prepare(np.zeros((1, *CROP_SHAPE), np.uint8), self._input))
        for size in self._fixed or sorted({1, self.batch}):
            self.run(np.zeros((size, *CROP_SHAPE), np.uint8))

    def run(self, faces: Sequence[Faces] | Faces) -> Scores:
        """Score at most `batch` faces on the calling thread."""
        batch = faces if isinstance(faces, np.ndarray) else np.stack(faces)
        with self._handle as runtime:
            return runtime.run(prepare(batch, self._input))

    def in_use(self) -> NativeHandle[Runtime]:
        """Return a context manager that keeps the runtime open, and the interpreter from ending.

        Raises:
            ModelError: The scorer is closed; or the process was forked and the model's file is gone.
            DeviceError: The device cannot be used in a forked process.
        """
        return self._handle

    def check(self) -> None:
        """Raise the errors of `in_use`."""
        with self._handle:
            pass

    def close(self) -> None:
        """End the threads and close the runtime. Calls that run are not waited for."""
        self._workers.close()
        if self._batcher is not None:
            self._batcher.close()
        self._handle.close()

    def _run_timed(self, faces: Sequence[Faces] | Faces) -> Scores:
        start = time.perf_counter()
        scores = self.run(faces)
        if not self._fixed:
            self._sizes.record(len(faces), time.perf_counter() - start)
        return scores


def open_quality_model(
    model: str | PathLike[str], device: str, card: ModelCard | None, precision: str | None, threads: int, trust: bool
) -> tuple[Model, Runtime]:
    """Load a quality model and open its runtime. The arguments are those of `sdk.QualityScorer`.

    Raises:
        ModelError: The model is unknown, cannot be fetched, differs from its card, or is no quality model.
        DeviceError: The requested device or precision is missing.
    """
    loaded = load_model(model, card, task="quality", trust=trust)
    spec = loaded.card.input
    if (spec.height, spec.width) != CROP_SHAPE[:2]:
        raise ModelError(
            f"{loaded.path} takes faces of {spec.width} x {spec.height} pixels, wanted {CROP_SIZE} x {CROP_SIZE}"
        )
    return loaded, open_runtime(loaded, device, precision=precision, threads=threads)


def reopen_quality_model(
    model: str | PathLike[str], device: str, card: ModelCard | None, precision: str | None, threads: int, trust: bool
) -> Runtime:
    """Open the model again in a forked process.

    OpenVINO is refused, too: after a fork it sometimes hangs, because a lock of the parent's threads stays locked.

    Raises:
        DeviceError: The device is not `cpu`.
        ModelError: The model's file is gone.
    """
    if device != "cpu":
        raise DeviceError(
            f"the scorer on {device} was made before this process was forked, and {device} cannot be used on both "
            "sides of a fork; make the scorer in the new process, start processes with 'spawn', or use device='cpu'"
        )
    return open_quality_model(model, device, card, precision, threads, trust)[1]


def closed_error(name: str) -> ModelError:
    """Return the error for the use of a closed scorer; `name` is the model's."""
    return ModelError(f"the scorer of {name} is closed; make a new QualityScorer")


def prepare(faces: NDArray[np.uint8], spec: InputSpec) -> NDArray[Any]:
    """Convert faces to a model's input: colour order, layout, type, normalisation.

    Args:
        faces: uint8 BGR (N, 112, 112, 3).
        spec: The model's input.

    Returns:
        uint8 or float32, (N, 112, 112, 3) or (N, 3, 112, 112), C-contiguous.
    """
    coloured = faces[..., ::-1] if spec.colour == "RGB" else faces
    # The layout first, while the values have 8 bits: five times faster than after the arithmetic.
    batch = np.ascontiguousarray(coloured if spec.layout == "NHWC" else coloured.transpose(0, 3, 1, 2))
    if spec.dtype == "uint8":
        return batch
    step = 1 if spec.colour == "RGB" else -1
    shape = (3,) if spec.layout == "NHWC" else (3, 1, 1)
    values = batch.astype(np.float32)
    values /= 255
    values -= np.array(spec.mean[::step], np.float32).reshape(shape)
    values /= np.array(spec.std[::step], np.float32).reshape(shape)
    return values
