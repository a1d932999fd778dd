"""Boxes of faces: how much two overlap, and non-maximum suppression."""

import numpy as np
from numpy.typing import NDArray

NMS = 0.3
"""Intersection over union above which two boxes are one face."""

Rows = NDArray[np.float32]
"""Faces, (N, 15): x, y, width and height of the box; x and y of five landmarks; confidence in [0, 1]. Pixels, except
the last."""

Box = tuple[float, float, float, float]
"""x, y of the upper left corner, width, height."""


def intersection_over_union(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    """Compute the intersection over union of each box of `a` with each of `b`.

    Args:
        a: (N, 4 or more): x, y, width, height; further columns are ignored.
        b: (M, 4 or more), likewise.

    Returns:
        (N, M), in [0, 1].
    """
    near = np.maximum(a[:, None, :2], b[None, :, :2])
    far = np.minimum(a[:, None, :2] + a[:, None, 2:4], b[None, :, :2] + b[None, :, 2:4])
    shared = np.clip(far - near, 0, None).prod(-1)
    union = a[:, None, 2:4].prod(-1) + b[None, :, 2:4].prod(-1) - shared
    return shared / np.maximum(union, 1e-9)


def intersection_over_smaller(a: Box, b: Box) -> float:
    """Compute the area that two boxes share, divided by the area of the smaller one, in [0, 1]."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b
    width = min(ax + aw, bx + bw) - max(ax, bx)
    height = min(ay + ah, by + bh) - max(ay, by)
    return max(width, 0.0) * max(height, 0.0) / min(aw * ah, bw * bh)


def suppress(rows: Rows) -> Rows:
    """Reduce overlapping boxes to one row a face (weighted non-maximum suppression).

    Of the boxes that overlap the most confident one by more than `NMS`, one row remains: their mean, weighted by
    confidence, with the highest confidence. This repeats with the boxes that are left.

    Args:
        rows: In any order.

    Returns:
        The faces, most confident first.
    """
    rows = rows[np.argsort(-rows[:, 14], kind="stable")]
    faces = []
    while len(rows):
        same = intersection_over_union(rows[:1], rows)[0] > NMS
        same[0] = True  # also for a box without area, whose overlap with itself is 0
        face = np.average(rows[same], axis=0, weights=np.maximum(rows[same, 14], 1e-9))
        face[14] = rows[0, 14]
        faces.append(face)
        rows = rows[~same]
    return np.array(faces, np.float32).reshape(-1, 15)
