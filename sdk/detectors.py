"""One pass of a face detector over one picture: this project's own network, and YuNet."""

import threading
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.errors import ModelError
from sdk.models.loading import Model

STRIDES = (8, 16, 32)
"""Pixels between the cells of each level of this project's detector."""

NMS = 0.3
"""Intersection over union above which the more confident of two boxes is kept."""

Rows = NDArray[np.float32]
"""(N, 15): box x, y, width, height; five landmarks x, y; confidence in [0, 1]. All but the last in pixels."""


class Detector(Protocol):
    """Finds faces in a picture as it is. Several threads may share one."""

    def find(self, image: NDArray[np.uint8]) -> Rows:
        """Find faces.

        Args:
            image: uint8 BGR (H, W, 3).
        """
        ...


def cell_grid(height: int, width: int) -> NDArray[np.float32]:
    """The cells of an image: level by level, row by row, as the network gives them.

    Returns:
        (cells, 3): x and y of each cell's middle, and its stride, in pixels.
    """
    levels = []
    for stride in STRIDES:
        rows, columns = (-(-side // STRIDES[-1]) * STRIDES[-1] // stride for side in (height, width))
        y, x = (np.mgrid[:rows, :columns].reshape(2, -1) + 0.5) * stride
        levels.append(np.stack([x, y, np.full_like(x, stride)], 1))
    return np.concatenate(levels).astype(np.float32)


def decode(cells: NDArray[np.float32], grid: NDArray[np.float32]) -> Rows:
    """What cells say, in pixels.

    Args:
        cells: (N, 15): confidence, centre of the box, logarithm of its size, landmarks; in strides from the cell's middle.
        grid: (N, 3), see `cell_grid`.
    """
    middle, stride = grid[:, :2], grid[:, 2:]
    size = np.exp(np.minimum(cells[:, 3:5], 5)) * stride
    corner = middle + cells[:, 1:3] * stride - size / 2
    points = np.tile(middle, 5) + cells[:, 5:15] * stride
    return np.concatenate([corner, size, points, cells[:, :1]], 1)
