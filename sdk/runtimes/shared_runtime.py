"""A model in its runtime, with the threads that share it: all that a scorer owns of a process."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import ModelError
from sdk.models.card import InputSpec
from sdk.models.loading import Model
from sdk.runtimes.base import Runtime
from sdk.runtimes.batch_sizes import BatchPlan, plan_key, sized
from sdk.runtimes.dynamic_batching import Crew
from sdk.runtimes.per_process import Native, PerProcess

Faces = NDArray[np.uint8]
Scores = NDArray[np.float32]


class Engine(PerProcess):
    """Scores faces on one runtime. The threads hold it, and it does not hold the scorer, which so can be dropped.

    Args:
        model: What the runtime was opened with.
        runtime: Closed with the engine.
        reopen: Opens the runtime again in a forked process, or raises a typed error.
        threads: How many callers share the runtime in `score_batch`.
        wait: Seconds that a face in `score` waits for others; 0 for none.
    """

    def __init__(
        self, model: Model, runtime: Runtime, reopen: Callable[[], Runtime], threads: int, wait: float
    ) -> None:
        self.batch = runtime.batch
        self._input = model.card.input
        self._threads = threads
        closed = partial(closed_error, model.card.name)
        self._native: Native[Runtime] = Native(runtime, reopen, lambda old: old.close(), closed)
        self._make_plan = partial(BatchPlan, runtime.batch, plan_key(model, runtime, threads))
        # What the threads run holds the engine: `close` ends them.
        self._crew: Crew[Sequence[Faces] | Faces, Scores] = Crew(
            lambda parts: map(self._run_timed, parts), threads, closed
        )
        self._room: Crew[Faces, np.float32] | None = None
        if wait:
            self._room = Crew(self.run, threads, closed, most=runtime.batch, seconds=wait)
        self.renew()
        super().__init__()

    def renew(self) -> None:
        """See `PerProcess.renew`."""
        self._plan = self._make_plan()

    def score(self, face: Faces) -> float:
        """Score uint8 (112, 112, 3), together with others where they are waited for."""
        return float(self.run(face[None])[0] if self._room is None else self._room.send(face).result())

    def score_batch(self, faces: Sequence[Faces] | Faces) -> Scores:
        """Score (N, 112, 112, 3), or N of (112, 112, 3): float32 (N,)."""
        self.check()
        parts = [faces[part] for part in sized(self._plan.split(len(faces), self._threads))]
        scores = [self._run_timed(part) for part in parts] if len(parts) < 2 else self._crew.do(parts)
        return np.concatenate([np.empty(0, np.float32), *scores])

    def run(self, faces: Sequence[Faces] | Faces) -> Scores:
        """Score at most `batch` faces on the calling thread."""
        batch = faces if isinstance(faces, np.ndarray) else np.stack(faces)
        with self._native as runtime:
            return runtime.run(prepare(batch, self._input))

    def in_use(self) -> Native[Runtime]:
        """Keep the runtime open, and the interpreter from ending, in a `with` block.

        Raises:
            ModelError: The engine is closed, or its file is gone in a forked process.
            DeviceError: It cannot be used in a forked process.
        """
        return self._native

    def check(self) -> None:
        """Raise what `in_use` would raise."""
        with self._native:
            pass

    def close(self) -> None:
        """End the threads and close the runtime, without waiting for calls that run."""
        self._crew.close()
        if self._room is not None:
            self._room.close()
        self._native.close()

    def _run_timed(self, faces: Sequence[Faces] | Faces) -> Scores:
        start = time.perf_counter()
        scores = self.run(faces)
        self._plan.learn(len(faces), time.perf_counter() - start)
        return scores


def closed_error(name: str) -> ModelError:
    """Make the error for the use of a closed scorer."""
    return ModelError(f"the scorer of {name} is closed; make a new QualityScorer")


def prepare(faces: NDArray[np.uint8], spec: InputSpec) -> NDArray[Any]:
    """Turn faces into what a model takes.

    Args:
        faces: uint8 BGR (N, 112, 112, 3).
        spec: The model's input.

    Returns:
        C-contiguous uint8 or float32, (N, 112, 112, 3) or (N, 3, 112, 112).
    """
    coloured = faces[..., ::-1] if spec.colour == "RGB" else faces
    # Laid out first: arithmetic on 8-bit values in their final order is five times faster.
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
