"""Degradations of aligned faces, graded from 0 (none) to 1 (hardly a face any more).

LFW and other clean sets have few bad faces, and a quality network must see many. Each function takes a uint8 BGR crop,
a grade and a generator, and returns a new uint8 crop of the same size. Training and evaluation use them. When the
meaning of a grade changes, `VERSION` changes.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sdk.alignment import CROP_SIZE
from sdk.errors import InputError

VERSION = 1
"""Version of the degradations, stored beside whatever was made with them."""

MISALIGNED = "landmarks"
"""Kind of a copy that was aligned on wrong landmarks. It needs the source image, so `degrade` cannot make it."""

LANDMARK_SHIFT = 12.0
"""Largest shift of a landmark at grade 1, in pixels of the crop, along each axis."""

Image = NDArray[np.uint8]
Damage = tuple[str, float]
"""(kind, grade)."""


def blur(face: Image, grade: float, rng: Generator) -> Image:
    """Blur as defocus (Gaussian, sigma up to 7 pixels) or as motion in a random direction (up to 41 pixels)."""
    if rng.random() < 0.6:
        return _uint8(cv2.GaussianBlur(face, (0, 0), 0.4 + 6.6 * grade))
    length = 3 + 2 * round(19 * grade)
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D((length // 2, length // 2), rng.uniform(0, 180), 1)
    kernel = np.asarray(cv2.warpAffine(kernel, turn, (length, length)), np.float32)
    return _uint8(cv2.filter2D(face, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101))


def low_resolution(face: Image, grade: float, rng: Generator) -> Image:
    """Reduce to 64 down to 7 pixels a side, and enlarge again."""
    size = face.shape[0]
    small = max(7, round(size * 0.57 * (7 / 64) ** grade))
    down = cv2.resize(face, (small, small), interpolation=cv2.INTER_AREA)
    up = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST)[rng.choice(3, p=(0.45, 0.45, 0.1))]
    return _uint8(cv2.resize(down, (size, size), interpolation=up))


def noise(face: Image, grade: float, rng: Generator) -> Image:
    """Add Gaussian noise, deviation up to 70 grey levels; in colour or, half of the time, in brightness only."""
    channels = 3 if rng.random() < 0.5 else 1
    grain = rng.standard_normal((*face.shape[:2], channels), dtype=np.float32)
    return _uint8(face + (3 + 67 * grade) * grain)


def compression(face: Image, grade: float, rng: Generator) -> Image:
    """Compress as JPEG, quality 40 down to 2."""
    _, data = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, max(2, round(40 * (1 - grade) ** 1.5))])
    return _uint8(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)))


def darkness(face: Image, grade: float, rng: Generator) -> Image:
    """Darken to 60 % down to 3 % of the light, with the noise that a sensor has in little light."""
    light = 0.6 * (0.03 / 0.6) ** grade
    grain = rng.standard_normal(face.shape, dtype=np.float32)
    return _uint8(light * face + (0.5 + 4.5 * grade) * grain)


def over_exposure(face: Image, grade: float, rng: Generator) -> Image:
    """Brighten by 1.4 up to 12 times and clip; half of the time from one side only."""
    gain = 1.4 * (12 / 1.4) ** grade
    if rng.random() < 0.5:
        ramp = np.linspace(0, 1, face.shape[1], dtype=np.float32)[None, :, None]
        ramp = ramp[:, ::-1] if rng.random() < 0.5 else ramp
        return _uint8(face * (1 + 1.5 * (gain - 1) * ramp))
    return _uint8(face * gain)


def occlusion(face: Image, grade: float, rng: Generator) -> Image:
    """Cover 5 to 70 % of the crop, near its middle, with a patch of one colour or of noise."""
    size = face.shape[0]
    area = (0.05 + 0.65 * grade) * size * size
    aspect = np.exp(rng.uniform(-0.7, 0.7))
    width, height = (min(size, round(side)) for side in (np.sqrt(area * aspect), np.sqrt(area / aspect)))
    centre = rng.uniform(0.3, 0.7, 2) * size
    left, top = (int(np.clip(c - side / 2, 0, size - side)) for c, side in zip(centre, (width, height), strict=True))
    result = face.copy()
    patch = np.broadcast_to(rng.integers(0, 256, 3), (height, width, 3)).astype(np.float32)
    if rng.random() < 0.3:
        patch = patch + 40 * rng.standard_normal((height, width, 3), dtype=np.float32)
    result[top : top + height, left : left + width] = _uint8(patch)
    return result


def misalignment(face: Image, grade: float, rng: Generator) -> Image:
    """Shift up to 35 %, rotate up to 60 degrees, and scale by up to 1.8 or its inverse, as wrong landmarks do."""
    size = face.shape[0]
    direction = rng.normal(size=4)
    shift, turn, scale = grade * direction[:2], grade * direction[2], grade * direction[3]
    norm = max(1.0, float(np.linalg.norm(direction)) / 1.4)
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), 60 * turn / norm, float(1.8 ** (scale / norm)))
    matrix[:, 2] += 0.35 * size * shift / norm
    return _uint8(cv2.warpAffine(face, matrix, (size, size), flags=cv2.INTER_LINEAR))


DEGRADATIONS: dict[str, Callable[[Image, float, Generator], Image]] = {
    "misalignment": misalignment,
    "over_exposure": over_exposure,
    "darkness": darkness,
    "occlusion": occlusion,
    "blur": blur,
    "low_resolution": low_resolution,
    "noise": noise,
    "compression": compression,
}
"""Degradations by name, in the order in which they happen to a picture."""

COLLAPSE = ("blur", "low_resolution", "noise")
"""Together these leave an image without features. Its embedding is stable, so FaceQAN gives it too high a score."""


def degrade(face: Image, damages: Sequence[Damage], rng: Generator) -> Image:
    """Apply degradations in the order given.

    Args:
        face: uint8 BGR (112, 112, 3).
        damages: (kind, grade) pairs; kinds of `DEGRADATIONS`, grades in [0, 1].
        rng: Source of randomness, for directions, patches and noise.

    Returns:
        uint8 BGR (112, 112, 3).

    Raises:
        InputError: A kind is unknown, a grade is outside [0, 1], or the face is not such a crop.
    """
    if face.shape != (CROP_SIZE, CROP_SIZE, 3) or face.dtype != np.uint8:
        raise InputError(f"face is {face.dtype} {face.shape}, wanted uint8 (112, 112, 3); align it first")
    for kind, grade in damages:
        if kind not in DEGRADATIONS:
            raise InputError(f"unknown degradation {kind!r}, wanted one of: {', '.join(DEGRADATIONS)}")
        if not 0 <= grade <= 1:
            raise InputError(f"grade of {kind} is {grade}, wanted a number in [0, 1]")
        face = DEGRADATIONS[kind](face, grade, rng)
    return face


def draw_damages(grade_range: tuple[float, float], rng: Generator) -> list[Damage]:
    """Draw the degradations of one copy: one kind (55 %), two kinds (20 %), or the three of `COLLAPSE` (25 %).

    Args:
        grade_range: Lowest and highest grade.
        rng: Source of randomness.

    Returns:
        (kind, grade) pairs in the order of `DEGRADATIONS`. Grades of several kinds are reduced, for they add up.
    """
    how = rng.random()
    low, high = grade_range
    if how < 0.75:
        count = 1 if how < 0.55 else 2
        kinds = set(rng.choice(list(DEGRADATIONS), count, replace=False).tolist())
        reduction = 1.0 if count == 1 else 0.75
    else:
        kinds, reduction = set(COLLAPSE), 0.7
    return [(kind, round(reduction * rng.uniform(low, high), 3)) for kind in DEGRADATIONS if kind in kinds]


def describe(damages: Sequence[Damage]) -> str:
    """Write degradations as text for a manifest, such as `blur=0.25+noise=0.5`."""
    return "+".join(f"{kind}={grade:g}" for kind, grade in damages)


def worst_grade(description: str) -> float:
    """Return the highest grade in a text of `describe`; 0 for an empty text."""
    return max((float(part.partition("=")[2]) for part in description.split("+") if part), default=0.0)


def _uint8(values: NDArray[np.number]) -> Image:
    if values.dtype == np.uint8:
        return np.asarray(values, dtype=np.uint8)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
