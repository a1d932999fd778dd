"""Faces as pictures that cut them, and other landmarks, would give them: for a score that follows neither."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sdk.alignment import CROP_SIZE
from train.data.dataset import FaceDataset
from train.data.manifest import Manifest

SPREAD = 10.0
"""Deviation of the width, pixels, that a cut takes from a side of the crop. Half of the sides lose nothing."""

TURN = 8.0
"""Deviation of a cut's angle, degrees."""

BLACK = 0.6
"""Share of the cuts that are black outside, as crops of the SDK are. The others repeat the edge."""

Crop = NDArray[np.uint8]


def cut(face: Crop, rng: Generator) -> Crop:
    """Replace what is outside of a random, slightly turned rectangle, as where a picture ends beside the face."""
    left, right, top, bottom = np.maximum(0, rng.normal(0, SPREAD, 4)).astype(int).tolist()
    turn = cv2.getRotationMatrix2D((CROP_SIZE / 2, CROP_SIZE / 2), rng.normal(0, TURN), 1.0)
    size, border = (CROP_SIZE, CROP_SIZE), cv2.BORDER_CONSTANT if rng.random() < BLACK else cv2.BORDER_REPLICATE
    upright = cv2.warpAffine(face, turn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = upright[top : CROP_SIZE - bottom, left : CROP_SIZE - right]
    back = cv2.invertAffineTransform(turn)
    back[:, 2] += back[:, :2] @ (left, top)
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
    matrix[:, 2] += 1.2 * np.array(shift)
    size = (CROP_SIZE, CROP_SIZE)
    moved = cv2.warpAffine(face, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


class CutFaces(FaceDataset):
    """Crops of which some are cut and all are moved, see `cut` and `move`.

    Args:
        manifest: Images.
        rows: Rows of the manifest that this set has, in its own order.
        targets: Arrays over the manifest's rows, by name.
        cuts: Share of the crops that are cut.
        moves: See `move`; 0 for none.
        flip: Probability of a left-right flip.
        seed: Of all that is random.
        cache: Keep decoded crops in memory.
    """

    def __init__(
        self,
        manifest: Manifest,
        rows: Sequence[int] | NDArray[np.integer[Any]],
        targets: Mapping[str, NDArray[Any]],
        cuts: float,
        moves: float,
        flip: float = 0.0,
        seed: int = 0,
        cache: bool = False,
    ) -> None:
        super().__init__(manifest, rows, targets, flip, seed, cache)
        self._cuts, self._moves = cuts, moves

    def _face(self, row: int, rng: Generator) -> Crop:
        face = super()._face(row, rng)
        if rng.random() < self._cuts:
            face = cut(face, rng)
        return move(face, self._moves, rng) if self._moves else face
