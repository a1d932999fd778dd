"""Overlaps and suppression, against values worked out by hand."""

import numpy as np
import pytest

from sdk.detection.boxes import intersection_over_smaller, intersection_over_union, suppress


@pytest.mark.parametrize(
    ("other", "expected"),
    [((0, 0, 100), 1), ((50, 0, 100), 0.5), ((100, 0, 100), 0), ((500, 500, 1), 0), ((20, 20, 10), 1)],
)
def test_intersection_over_smaller(other: tuple[float, float, float], expected: float) -> None:
    assert intersection_over_smaller((0, 0, 100, 100), (*other, other[2])) == pytest.approx(expected)


def test_intersection_over_union() -> None:
    boxes = np.array([(0, 0, 10, 10), (5, 0, 10, 10), (20, 20, 5, 5), (0, 0, 0, 0)], float)
    expected = [[1, 50 / 150, 0, 0], [50 / 150, 1, 0, 0]]
    np.testing.assert_allclose(intersection_over_union(boxes[:2], boxes), expected)


def row(x: float, confidence: float, width: float = 10) -> list[float]:
    """Return a face whose landmarks are all at its corner."""
    return [x, 0, width, 10, *[x, 0] * 5, confidence]


def test_suppress() -> None:
    # Intersections over unions of 5/15 (the same face) and 4/16 (another face).
    rows = np.array([row(100, 0.3), row(5, 0.2), row(0, 0.6), row(-6, 0.5)], np.float32)
    found = suppress(rows)
    np.testing.assert_allclose(found[:, 0], (1.25, -6, 100), rtol=1e-6)
    np.testing.assert_allclose(found[:, 12], (1.25, -6, 100), rtol=1e-6)
    np.testing.assert_allclose(found[:, 14], (0.6, 0.5, 0.3))
    assert suppress(np.zeros((0, 15), np.float32)).shape == (0, 15)
    assert len(suppress(np.array([row(0, 0.5, width=0)], np.float32))) == 1
