"""Measures that follow from landmarks and the picture's size alone."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdk.alignment import CROP_SIZE, similarity_transform

NOSE_HEIGHT = 0.57
"""How far the nose tip is below the eyes in an upright head, of the way from eyes to mouth; a mean of frontal faces."""

STEP = 4
"""Distance of the pixels that are counted for the share of the crop outside of the picture."""

_PIXELS = np.stack(np.meshgrid(*[np.arange(STEP / 2 - 0.5, CROP_SIZE, STEP)] * 2), -1).reshape(-1, 2)


def geometry(landmarks: ArrayLike, height: int, width: int) -> dict[str, float]:
    """Return eye distance, pitch, roll, and the share of the crop outside of the picture.

    Args:
        landmarks: (5, 2) in pixels of the picture, see `Face.landmarks`.
        height: Of the picture, pixels.
        width: Of the picture, pixels.

    Raises:
        ImageError: The landmarks make no face.
    """
    points = np.asarray(landmarks, np.float64)
    across = points[1] - points[0]
    return {
        "eye_distance": math.hypot(*across),
        "pitch": _pitch(points),
        "roll": math.degrees(math.atan2(across[1], across[0])),
        "outside": 100 * _outside(points, height, width),
    }


def _pitch(points: NDArray[np.float64]) -> float:
    """Return degrees, above 0 for a head that looks up. Rough: people's noses differ by 10 degrees.

    The nose tip stands before the plane of eyes and mouth, so it moves up between them in a head that looks up.
    """
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    down = mouth - eyes
    length = float(np.dot(down, down))
    place = float(np.dot(points[2] - eyes, down)) / length if length > 1e-9 else NOSE_HEIGHT
    return math.degrees(math.atan(2 * (NOSE_HEIGHT - place)))


def _outside(points: NDArray[np.float64], height: int, width: int) -> float:
    matrix = similarity_transform(points)
    x, y = np.linalg.solve(matrix[:, :2], _PIXELS.T - matrix[:, 2:])
    return float(1 - np.mean((x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)))
