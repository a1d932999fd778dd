"""Landmarks with the errors that another detector might make."""

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from sdk.alignment import similarity_transform


def perturb(landmarks: ArrayLike, pixels: float, rng: Generator, scaled: bool = False) -> NDArray[np.float64]:
    """Move landmarks by a uniform random shift along each axis (AI-KD).

    Args:
        landmarks: (5, 2) in the source image's pixels; not changed.
        pixels: Largest shift, in the source image's pixels.
        rng: Source of randomness.
        scaled: Count `pixels` in the aligned crop, so that large and small faces are perturbed alike.

    Returns:
        float64 (5, 2).
    """
    points = np.array(landmarks, np.float64)
    shift = rng.uniform(-pixels, pixels, points.shape)
    if scaled:
        shift /= np.hypot(*similarity_transform(points)[:, 0])
    return points + shift
