"""Measure the values of a network's activations on faces, and choose the range that int8 holds."""

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
"""Steps of int8 on each side of zero."""
_BATCH = 4
_EVERY = 5
"""Every fifth value is counted; the largest is taken from all values."""
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Histogram:
    """Absolute values of one activation.

    Attributes:
        counts: int64 (BINS,), number of values in equal bins from 0 to `largest`.
        largest: The largest absolute value.
    """

    counts: NDArray[np.int64]
    largest: float

    def reach(self, method: str) -> float:
        """Return the largest absolute value that int8 shall hold; larger values are clipped to it.

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
    """Run a model and count the values of some activations.

    Args:
        model: An exported file, which takes uint8 faces.
        names: Names of the activations, float32.
        faces: uint8 BGR (N, 112, 112, 3).

    Returns:
        Histograms by the name of the activation.
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
