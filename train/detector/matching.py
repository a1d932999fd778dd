"""Matching of found faces with true ones, and the confidence from which finds can be trusted."""

import numpy as np
from numpy.typing import NDArray

from sdk.detection.boxes import Rows, intersection_over_union

IOU = 0.5
"""Intersection over union from which a find is the face."""

TRUE, FALSE, NEITHER = 1, 0, -1


def match(found: Rows, truth: Rows, iou: float = IOU) -> tuple[NDArray[np.int8], NDArray[np.intp]]:
    """Match finds and faces one to one, the most confident find first.

    Args:
        found: (N, 15) finds, see `sdk.detection.boxes.Rows`.
        truth: (M, 15) faces; those with a confidence of 0 may be found or not.
        iou: See `IOU`.

    Returns:
        int8 (N,): `TRUE`, `FALSE`, or `NEITHER` for a find of a face that may be found or not; and (M,): index of each
        face's find, -1 for none.
    """
    kinds, partners = np.zeros(len(found), np.int8), np.full(len(truth), -1, np.intp)
    shared = intersection_over_union(found, truth)
    for index in np.argsort(-found[:, 14], kind="stable"):
        free = np.where((partners < 0) & (shared[index] >= iou), shared[index] + (truth[:, 14] > 0), 0)
        best = int(free.argmax()) if len(truth) else 0
        if not len(truth) or not free[best]:
            # A second find on a doubtful face, or one of a part of it, is not counted as false.
            kinds[index] = NEITHER if (shared[index][truth[:, 14] == 0] > iou / 2).any() else FALSE
            continue
        partners[best] = index
        kinds[index] = TRUE if truth[best, 14] else NEITHER
    return kinds, partners


def confidence_at(precision: float, confidences: NDArray[np.floating], kinds: NDArray[np.integer]) -> float:
    """Return the lowest confidence from which at least this share of finds is true; 1 where there is none.

    Args:
        precision: In (0, 1].
        confidences: (N,) of finds in many images.
        kinds: (N,) `TRUE` or `FALSE`; others are left out.
    """
    kept = kinds != NEITHER
    order = np.argsort(-confidences[kept], kind="stable")
    true = np.cumsum(kinds[kept][order] == TRUE)
    good = np.flatnonzero(true / np.arange(1, len(true) + 1) >= precision)
    return float(confidences[kept][order][good[-1]]) if len(good) else 1.0
