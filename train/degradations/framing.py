"""Crops as a picture's edge, or another detector's landmarks, would make them."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sdk.alignment import CROP_SIZE

SPREAD = 16.0
"""Deviation of the width, pixels, that a cut takes from a side of the crop. Half of the sides lose nothing."""

TURN = 8.0
"""Deviation of a cut's angle, degrees."""

BLACK = 0.6
"""Share of the cuts that are black outside, as crops of the SDK are. The others repeat the edge."""

Crop = NDArray[np.uint8]


def cut(face: Crop, rng: Generator) -> Crop:
    """Replace what is outside of a random, slightly turned rectangle, as where a picture ends beside the face."""
    left, right, top, bottom = np.maximum(0, rng.normal(0, SPREAD, 4)).astype(int).tolist()
    right, bottom = min(right, CROP_SIZE - 1 - left), min(bottom, CROP_SIZE - 1 - top)
    turn = cv2.getRotationMatrix2D((CROP_SIZE / 2, CROP_SIZE / 2), rng.normal(0, TURN), 1.0)
    size, border = (CROP_SIZE, CROP_SIZE), cv2.BORDER_CONSTANT if rng.random() < BLACK else cv2.BORDER_REPLICATE
    upright = cv2.warpAffine(face, turn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = upright[top : CROP_SIZE - bottom, left : CROP_SIZE - right]
    back = np.asarray(cv2.invertAffineTransform(turn), np.float64)
    back[:, 2] = back[:, 2] + back[:, :2] @ np.array([left, top])
    return np.asarray(cv2.warpAffine(inside, back, size, flags=cv2.INTER_LINEAR, borderMode=border), np.uint8)


def move(face: Crop, amount: float, rng: Generator) -> Crop:
    """Scale, turn and shift a crop a little, as the landmarks of another detector would.

    Args:
        face: uint8 (112, 112, 3).
        amount: 1 for deviations of 2 % of the size, 2 degrees and 1.2 pixels.
        rng: Source of randomness.
    """
    scale, turn, *shift = amount * rng.normal(size=4)
    matrix = cv2.getRotationMatrix2D((CROP_SIZE / 2, CROP_SIZE / 2), 2 * turn, 1 + 0.02 * scale)
    matrix[:, 2] = matrix[:, 2] + 1.2 * np.array(shift)
    size = (CROP_SIZE, CROP_SIZE)
    moved = cv2.warpAffine(face, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)
