"""Counts, medians and ends of many scores, in little memory."""

import math
from pathlib import Path

import numpy as np
import pytest

from sdk.results_io.scored_face import ScoredFace
from sdk.results_io.tally import OTHER_REASONS, Histogram, Tally

RANDOM = np.random.default_rng(7)


@pytest.mark.parametrize(
    "values",
    [
        [0.5],
        [0.1, 0.9],
        RANDOM.uniform(0, 1, 1001),
        RANDOM.normal(0, 1, 1000),
        RANDOM.uniform(-3, -2, 500),
        np.round(RANDOM.uniform(0, 100, 5000), 6),
        [*RANDOM.uniform(0, 1, 50_000), 1e6, -1e6],
    ],
)
def test_a_histogram_is_numpys_to_a_bin(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(float(value))
    low, high = float(np.min(values)), float(np.max(values)) + 0.1
    assert (histogram.count, histogram.least, histogram.most) == (len(values), low, np.max(values))
    width = max(0.00025, (high - low) / 5000)
    assert histogram.median() == pytest.approx(np.median(values), abs=width)
    bars = histogram.bars(low, high, 10)
    assert sum(bars) == len(values)
    expected = np.cumsum(np.histogram(values, 10, (low, high))[0])
    near = [np.sum(np.abs(np.asarray(values) - edge) <= width) for edge in np.linspace(low, high, 11)[1:]]
    assert all(
        abs(found - wanted) <= close for found, wanted, close in zip(np.cumsum(bars), expected, near, strict=True)
    )


def test_a_histogram_stays_small() -> None:
    histogram = Histogram()
    for value in np.random.default_rng(1).uniform(-1000, 1000, 100_000):
        histogram.add(float(value))
    assert len(histogram._bins) <= 20_000
    assert histogram.count == 100_000


def test_nothing() -> None:
    histogram = Histogram()
    assert math.isnan(histogram.median())
    assert histogram.bars(0, 1, 4) == [0, 0, 0, 0]
    assert Tally(5).ranked() == []


@pytest.mark.parametrize("count", [1, 9, 10, 11, 20, 21, 500])
def test_both_ends_are_kept_with_their_ranks(count: int) -> None:
    scores = np.random.default_rng(count).integers(0, 40, count) / 40  # with ties
    tally = Tally(10)
    for index, score in enumerate(scores):
        tally.add([ScoredFace(Path(str(index)), 0, float(score))])
    order = sorted(range(count), key=lambda index: -scores[index])  # of equal ones the first comes first
    expected = [(rank, str(index)) for rank, index in enumerate(order, 1)]
    if count > 20:
        expected = expected[:10] + expected[-10:]
    assert [(rank, str(face.path)) for rank, face in tally.ranked()] == expected


def test_files_faces_and_failures() -> None:
    tally = Tally()
    good, bad = ScoredFace(Path("a"), 0, 0.5), ScoredFace(Path("a"), 1, error="no number")
    tally.add([good, bad])
    tally.add([bad])
    for index in range(3000):
        tally.add([ScoredFace(Path("c"), error=f"reason {index}")])
    assert (tally.files, tally.scored_files, tally.scores.count, tally.failed) == (3002, 1, 1, 3002)
    assert tally.reasons["no number"] == 2
    assert sum(tally.reasons.values()) == 3002
    assert len(tally.reasons) <= 1001
    assert tally.reasons[OTHER_REASONS] > 1900
    assert tally.failures[:2] == [bad, bad]
    assert len(tally.failures) == 200
    assert tally.ranked() == []
