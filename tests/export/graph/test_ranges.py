"""Ranges of activations: how they are measured and chosen."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from export.graph.ranges import BINS, Histogram, histograms


def test_reach() -> None:
    counts = np.zeros(BINS, np.int64)
    counts[: BINS // 2] = 1000
    counts[-1] = 1
    found = Histogram(counts, 8.0)
    assert found.reach("max") == 8
    assert found.reach("99.99") == pytest.approx(4, abs=0.01)
    # One value of a million is not worth half of the steps.
    assert 3.9 < found.reach("mse") < 6
    assert Histogram(np.ones(BINS, np.int64), 8.0).reach("mse") > 7.8


def test_histograms_count_what_the_network_computes(nano: onnx.ModelProto, faces: NDArray[np.uint8]) -> None:
    found = histograms(nano, ["normalised", "hardtanh"], faces[:6])
    assert found["hardtanh"].largest == 6
    assert found["hardtanh"].counts.sum() == pytest.approx(6 * 64 * 56 * 56 / 5, rel=1e-3)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    values = (faces[:6, ..., ::-1] / 255 - mean) / std
    assert found["normalised"].largest == pytest.approx(np.abs(values).max(), rel=1e-5)
