"""How fast a model scores on this CPU, beside onnxruntime as it comes."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from sdk.models.loading import load_model
from sdk.scorer import QualityScorer, available_cores, prepare


@dataclass(frozen=True, slots=True)
class Line:
    """One measurement.

    Attributes:
        session: `onnxruntime`, the file as it is with default options; or `fiqa`.
        callers: Threads that call at the same time; each call uses one core.
        batch: Faces a call.
        faces_per_second: All callers together; the best of several rounds.
    """

    session: str
    callers: int
    batch: int
    faces_per_second: float


def measure(model: str | PathLike[str] = "fiqa-nano", threads: int | None = None, seconds: float = 3.0) -> list[Line]:
    """Time the same file in onnxruntime's default session on one core, and in fiqa on one core and on several.

    Args:
        model: Name or path.
        threads: Most callers; None for one a core.
        seconds: Time for each line.

    Raises:
        ModelError: The model cannot be had or loaded.
    """
    import onnxruntime

    loaded = load_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(loaded.data, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    with QualityScorer(model, "cpu", 1) as scorer:

        def default(faces: NDArray[np.uint8]) -> object:
            return session.run(None, {name: prepare(faces, loaded.card.input)})

        cases = [("onnxruntime", default, 1, 1), ("fiqa", scorer.score_batch, 1, 1), ("fiqa", scorer.score_batch, 1, 8)]
        callers = threads or available_cores()
        if callers > 1:
            cases += [("fiqa", scorer.score_batch, callers, batch) for batch in (1, 8)]
        return [
            Line(session_name, many, batch, _rate(score, many, batch, seconds))
            for session_name, score, many, batch in cases
        ]


def _rate(score: Callable[[NDArray[np.uint8]], object], callers: int, batch: int, seconds: float) -> float:
    """Faces a second: best of five rounds, so that other work on the machine counts least."""
    faces = np.random.default_rng(0).integers(0, 256, (batch, 112, 112, 3), np.uint8)

    def call_until(end: float) -> int:
        count = 0
        while time.perf_counter() < end:
            score(faces)
            count += batch
        return count

    score(faces)
    rates = []
    with ThreadPoolExecutor(callers) as pool:
        for _ in range(5):
            start = time.perf_counter()
            counts = list(pool.map(call_until, [start + seconds / 5] * callers))
            rates.append(sum(counts) / (time.perf_counter() - start))
    return max(rates)
