"""What values the activations of a network take on faces, and how far eight bits should reach."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from export.graph.front_end import INPUT

BINS = 2048
LEVELS = 127
"""Steps on each side of zero."""
_BATCH = 4
_EVERY = 5
"""Of the values every fifth is counted; the largest is that of all."""
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Histogram:
    """Absolute values of one activation.

    Attributes:
        counts: (BINS,) over equal bins from 0 to `largest`.
        largest: The largest absolute value.
    """

    counts: NDArray[np.int64]
    largest: float

    def reach(self, method: str) -> float:
        """Absolute value that the largest step stands for; what is beyond is clipped to it.

        Args:
            method: `max`, `mse` (least mean squared error) or a percentile such as `99.99`.
        """
        if method == "max":
            return self.largest
        if method == "mse":
            return self._least_error()
        share = np.cumsum(self.counts) / self.counts.sum()
        return float((np.searchsorted(share, float(method) / 100) + 1) * self.largest / BINS)

    def _least_error(self) -> float:
        centres = (np.arange(BINS) + 0.5) * self.largest / BINS
        tried = self.largest * np.linspace(0.2, 1, 81)
        errors = []
        for reach in tried:
            step = reach / LEVELS
            rounded = np.minimum(np.rint(centres / step), LEVELS) * step
            errors.append(float((self.counts * (rounded - centres) ** 2).sum()))
        return float(tried[int(np.argmin(errors))])


def histograms(model: onnx.ModelProto, names: Sequence[str], faces: NDArray[np.uint8]) -> dict[str, Histogram]:
    """Run a model and look at some of its values.

    Args:
        model: Takes uint8 faces.
        names: Values, float32.
        faces: (N, 112, 112, 3) uint8 BGR.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    batches = [faces[start : start + _BATCH] for start in range(0, len(faces), _BATCH)]
    largest = dict.fromkeys(names, _LEAST)
    for batch in batches:
        for name, values in zip(names, session.run(list(names), {INPUT: batch}), strict=True):
            largest[name] = max(largest[name], float(values.max()), -float(values.min()))
    counts = {name: np.zeros(BINS, np.int64) for name in names}
    for batch in batches:
        for name, values in zip(names, session.run(list(names), {INPUT: batch}), strict=True):
            bins = np.minimum(np.abs(values.reshape(-1)[::_EVERY]) * (BINS / largest[name]), BINS - 1).astype(np.int32)
            counts[name] += np.bincount(bins, minlength=BINS)
    return {name: Histogram(counts[name], largest[name]) for name in names}
