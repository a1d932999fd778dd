"""Landmarks as another detector might have placed them."""

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from sdk.alignment import similarity_transform


def perturb(landmarks: ArrayLike, pixels: float, rng: Generator, scaled: bool = False) -> NDArray[np.float64]:
    """Landmarks moved by chance, uniformly up to some pixels along each axis (AI-KD); the given ones are left alone.

    Args:
        landmarks: (5, 2) in the source image's pixels.
        pixels: Largest shift, in the source image's pixels.
        rng: Source of chance.
        scaled: Take `pixels` as those of the aligned crop, so that large and small faces are perturbed alike.

    Returns:
        float64 (5, 2).
    """
    points = np.array(landmarks, np.float64)
    shift = rng.uniform(-pixels, pixels, points.shape)
    if scaled:
        shift /= np.hypot(*similarity_transform(points)[:, 0])
    return points + shift
