"""Contrast and even light of the face, by its own range of grey levels: how dark the skin is does not matter."""

import numpy as np
from numpy.typing import NDArray

FACE = (slice(36, 100), slice(28, 84))
"""Rows and columns of the crop that show the face and nothing else."""

LEAST_LEVEL = 4.0
"""Grey levels below which there is no light to compare."""


def light(crop: NDArray[np.uint8]) -> dict[str, float]:
    """Return contrast and uneven light, %.

    Contrast is (high - low) / (high + low), with the 5th and the 95th percentile of the face's grey levels. Uneven
    light is the difference of the mean levels of the left and the right half, as a share of the larger one. What is
    black, as outside of the picture, is left out.

    Args:
        crop: uint8 BGR (112, 112, 3).
    """
    face = crop[FACE]
    grey = face @ np.array([0.114, 0.587, 0.299], np.float32)
    seen = face.any(-1)
    values = np.sort(grey[seen])
    if len(values) < 100:
        return {"contrast": 0.0, "uneven_light": 0.0}
    low, high = values[int(0.05 * len(values))], values[int(0.95 * len(values))]
    halves = np.array_split(grey, 2, axis=1), np.array_split(seen, 2, axis=1)
    sides = [float(side[there].mean()) for side, there in zip(*halves, strict=True) if there.sum() >= 50]
    uneven = 1 - min(sides) / max(sides) if len(sides) == 2 and max(sides) > LEAST_LEVEL else 0.0
    return {"contrast": 100 * float((high - low) / max(high + low, LEAST_LEVEL)), "uneven_light": 100 * uneven}
