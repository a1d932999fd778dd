"""Crops that a picture's edge cuts, and crops that are moved."""

import cv2
import numpy as np

from train.degradations.framing import cut, move

FACE = np.full((112, 112, 3), 200, np.uint8)


def test_a_cut_takes_the_edge_and_leaves_the_middle() -> None:
    rng = np.random.default_rng(0)
    blackened = []
    for _ in range(200):
        result = cut(FACE, rng)
        assert (result[52:60, 52:60] == 200).all()
        blackened.append(float((result == 0).mean()))
    assert 0.4 < np.mean(np.array(blackened) > 0) < 0.7  # the others repeat the edge, or lose nothing
    assert max(blackened) < 0.7


def test_a_cut_that_takes_both_sides_leaves_something() -> None:
    class Wide(np.random.Generator):
        def normal(self, *arguments: object) -> object:
            return np.full(4, 90.0) if len(arguments) == 3 else 0.0

    rng = Wide(np.random.PCG64(0))
    assert (cut(FACE, rng) == 200).any()


def test_a_move_is_small() -> None:
    spot = np.zeros_like(FACE)
    cv2.circle(spot, (56, 56), 3, (255, 255, 255), -1)
    rng = np.random.default_rng(0)
    centres = []
    for _ in range(100):
        rows, columns = np.nonzero(move(spot, 1.0, rng)[..., 0] > 128)
        centres.append((rows.mean(), columns.mean()))
    assert np.allclose(np.mean(centres, axis=0), 56, atol=0.6)
    assert 0.8 < np.std(centres) < 1.7
