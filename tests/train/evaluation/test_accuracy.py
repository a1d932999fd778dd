"""Verification accuracy on ten folds."""

import numpy as np
import pytest

from sdk.decision.comparisons import Pairs
from train.evaluation.accuracy import ten_fold_accuracy


def test_accuracy_by_hand() -> None:
    # Mated pairs are 10 degrees apart, but for two in the last fold, which are 60 apart; all others are 50 apart.
    # On the other folds any threshold between is right, so two of the twenty pairs of the last fold fail.
    angles = np.radians([0, 10, 50, 60])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1)
    mated = np.array([[0, 1]] * 98 + [[0, 3]] * 2)
    pairs = Pairs(mated, np.array([[0, 2]] * 100))
    mean, deviation = ten_fold_accuracy(pairs, vectors)
    assert mean == pytest.approx((9 * 1 + 0.9) / 10)
    assert deviation == pytest.approx(np.std([1.0] * 9 + [0.9]))
