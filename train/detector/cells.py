"""Targets of a detector's cells: the size and place of a face decide which cells answer for it."""

import numpy as np
from numpy.typing import NDArray

from sdk.detection.networks import cell_grid

SIZES = {8: (0.0, 56.0), 16: (40.0, 144.0), 32: (104.0, np.inf)}
"""Faces that the cells of each stride answer for, from and below a size: square root of the box's area, pixels."""

MARGIN = 1.5
"""Faces that are too large or too small for a stride by up to this factor are ignored in its loss."""

REACH = 1.0
"""Largest distance, in strides, of a cell's middle from the middle of the face's box, along each axis."""

SHARE = 0.2
"""The same as a share of the face's size; the larger distance counts."""

NEGATIVE, IGNORED, POSITIVE = 0, -1, 1


def assign(faces: NDArray[np.float32], height: int, width: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Assign faces to the cells of an image.

    Args:
        faces: (N, 15), see `train.detector.photos.Rows`; a confidence of 0 marks what may be a face.
        height: Of the image, pixels.
        width: Of the image, pixels.

    Returns:
        int8 (cells,): `POSITIVE`, `NEGATIVE` or `IGNORED`; and float32 (cells, 14): the box x, y, width, height and the
        landmarks of each positive cell's face, in pixels.
    """
    grid = cell_grid(height, width)
    kinds = np.zeros(len(grid), np.int8)
    targets = np.zeros((len(grid), 14), np.float32)
    sizes = np.sqrt(faces[:, 2] * faces[:, 3])
    lows, highs = (np.select([grid[:, 2] == s for s in SIZES], [v[end] for v in SIZES.values()]) for end in (0, 1))
    for index in np.argsort(-sizes):  # where faces meet, the smaller one is in front
        x, y, w, h = faces[index, :4]
        away = np.abs(grid[:, :2] - (x + w / 2, y + h / 2)).max(1)
        near = away < np.maximum(REACH * grid[:, 2], SHARE * sizes[index])
        if faces[index, 14] == 0:
            inside = (np.abs(grid[:, :2] - (x + w / 2, y + h / 2)) < (w / 2, h / 2)).all(1)
            kinds[(near | inside) & (kinds != POSITIVE)] = IGNORED
            continue
        almost = near & (lows / MARGIN <= sizes[index]) & (sizes[index] < highs * MARGIN)
        kinds[almost & (kinds != POSITIVE)] = IGNORED
        own = near & (lows <= sizes[index]) & (sizes[index] < highs)
        kinds[own], targets[own] = POSITIVE, faces[index, :14]
    return kinds, targets
