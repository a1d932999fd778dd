"""Results: what was found in an image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face that a detector found.

    Attributes:
        box: x, y of the upper left corner, width and height, in pixels of the image; may reach over its border.
        landmarks: float32 (5, 2), x and y in pixels of the image: left eye, right eye, nose tip, left and right mouth
            corner, as seen in the image.
        confidence: The detector's own score in [0, 1].
    """

    box: tuple[float, float, float, float]
    landmarks: NDArray[np.float32]
    confidence: float


@dataclass(frozen=True, slots=True, eq=False)
class FaceQuality(Face):
    """A face with its quality.

    Attributes:
        score: Quality; higher is better. The model's card says over which range.
        crop: uint8 BGR (112, 112, 3): the aligned face that was scored.
    """

    score: float
    crop: NDArray[np.uint8]
