"""Coverings of aligned faces: sunglasses, and what hides the mouth, such as a mask or a scarf."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sdk.alignment import CROP_SIZE, TEMPLATE
from train.degradations.framing import Crop

COVERED = 0.5
"""Grade of a covered face: eyes or mouth are hidden, which matters more than the area."""

_SHIFT = 4


def cover(face: Crop, rng: Generator) -> Crop:
    """Put sunglasses, or a cloth over nose and mouth, on an aligned face, uint8 BGR (112, 112, 3)."""
    mask = np.zeros((CROP_SIZE, CROP_SIZE), np.uint8)
    (_sunglasses if rng.random() < 0.5 else _cloth)(mask, rng)
    soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.4, 1.0)).astype(np.float32)[..., None] / 255
    colour = rng.uniform(0, 255, 3) if rng.random() < 0.5 else np.full(3, rng.uniform(0, 255))
    if mask[: CROP_SIZE // 2].any() and rng.random() < 0.8:  # most sunglasses are dark
        colour = colour * 0.25
    first, last = rng.uniform(0.6, 1.4, 2).tolist()
    shade = np.linspace(first, last, CROP_SIZE, dtype=np.float32)
    cloth = colour.astype(np.float32) * (shade[:, None, None] if rng.random() < 0.5 else shade[None, :, None])
    cloth = np.broadcast_to(cloth, face.shape) + rng.normal(0, 3, face.shape).astype(np.float32)
    opacity = rng.uniform(0.85, 1)
    mixed = face * (1 - opacity * soft) + cloth * (opacity * soft)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _sunglasses(mask: NDArray[np.uint8], rng: Generator) -> None:
    eyes = TEMPLATE[:2] + rng.normal(0, 1, 2)
    size = rng.uniform((11, 8), (16, 13))
    for eye in eyes:
        if rng.random() < 0.7:
            cv2.ellipse(mask, _fixed(eye), _fixed(size), float(rng.normal(0, 6)), 0, 360, 255, -1, shift=_SHIFT)
        else:
            cv2.rectangle(mask, _fixed(eye - size), _fixed(eye + size), 255, -1, shift=_SHIFT)
    cv2.line(mask, _fixed(eyes[0]), _fixed(eyes[1]), 255, int(rng.integers(1, 5)), shift=_SHIFT)


def _cloth(mask: NDArray[np.uint8], rng: Generator) -> None:
    top = rng.uniform(60, 80)
    corners = np.array([(14, top + 4), (56, top - 4), (98, top + 4), (94, 100), (74, 116), (38, 116), (18, 100)])
    corners = corners + rng.normal(0, 3, corners.shape)
    if rng.random() < 0.3:  # a hand, a phone or a microphone covers the mouth only
        corners = (corners - (56, 92)) * (0.55, 0.75) + (56, 92) + rng.normal(0, 4, 2)
    cv2.fillPoly(mask, [np.round(corners * (1 << _SHIFT)).astype(np.int32)], (255,), shift=_SHIFT)


def _fixed(point: NDArray[np.float64]) -> tuple[int, int]:
    x, y = np.round(point * (1 << _SHIFT)).astype(int).tolist()
    return x, y
