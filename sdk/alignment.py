"""Five landmarks -> similarity transform -> aligned 112 x 112 crop.

The ArcFace template and the least-squares similarity of Umeyama (IEEE TPAMI 1991), in closed form: with points as
complex numbers a similarity without reflection is `z -> a z + b`, whose least-squares solution is one division.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdk.errors import ImageError

CROP_SIZE = 112
"""Side of an aligned crop, pixels."""

TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)],
    dtype=np.float64,
)
"""(5, 2) x, y of left eye, right eye, nose tip, left and right mouth corner (as seen in the image) in the crop."""

MOST_PIXELS = 1e7
"""Largest coordinate of a landmark; beyond it the sums would overflow in the end."""

LEAST_SCALE, MOST_SCALE = 1 / 200, 1000.0
"""Of a crop: from 22,400 pixels of the image to a ninth of one. No face is so large or so small."""

_MOST_SIDE = 32766
"""Largest side that `cv2.warpAffine` takes in OpenCV 4."""


def similarity_transform(landmarks: ArrayLike, template: ArrayLike = TEMPLATE) -> NDArray[np.float64]:
    """Least-squares similarity transforms that take landmarks to a template.

    Args:
        landmarks: (5, 2) or (N, 5, 2) points x, y in image pixels.
        template: (5, 2) target points.

    Returns:
        float64 (2, 3) or (N, 2, 3) matrices for `cv2.warpAffine`.

    Raises:
        ImageError: The landmarks have another shape, are not finite, lie outside any image, all coincide, or ask for
            a scale that no face has.
    """
    try:
        points = np.asarray(landmarks, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ImageError(f"landmarks are no numbers ({error}); give (5, 2) points in pixels") from error
    target = np.asarray(template, dtype=np.float64)
    if points.shape[-2:] != target.shape or points.ndim not in (2, 3):
        raise ImageError(
            f"landmarks have shape {points.shape}, wanted {target.shape} or (N, 5, 2): "
            "left eye, right eye, nose, left and right mouth corner"
        )
    if not np.isfinite(points).all():
        raise ImageError("landmarks hold NaN or infinity, wanted pixels; detect the face again")
    if np.abs(points).max(initial=0) > MOST_PIXELS:
        raise ImageError(
            f"a landmark lies {np.abs(points).max():.3g} pixels from the image's corner, "
            f"wanted at most {MOST_PIXELS:.0e}; detect the face again"
        )
    source = points[..., 0] + 1j * points[..., 1]
    wanted = target[..., 0] + 1j * target[..., 1]
    source_mean = source.mean(axis=-1, keepdims=True)
    wanted_mean = wanted.mean()
    centred = source - source_mean
    spread = (np.abs(centred) ** 2).sum(axis=-1)
    least = (np.abs(wanted - wanted_mean) ** 2).sum() / MOST_SCALE**2  # below it, |a| may be larger than MOST_SCALE
    if not np.all(spread > least):
        raise ImageError("all five landmarks are one point, wanted five; detect the face again")
    a = (np.conj(centred) * (wanted - wanted_mean)).sum(axis=-1) / spread
    if not np.all(np.abs(a) >= LEAST_SCALE):
        raise ImageError(
            f"the landmarks ask for a crop at a scale of {np.abs(a).min():.2g}, wanted at least {LEAST_SCALE}: "
            "they are in the wrong order or no face; detect the face again, or make the image smaller"
        )
    b = wanted_mean - a * source_mean[..., 0]
    rows = np.stack([a.real, -a.imag, b.real, a.imag, a.real, b.imag], axis=-1)
    return rows.reshape(*a.shape, 2, 3)


def align(image: NDArray[np.uint8], landmarks: ArrayLike) -> NDArray[np.uint8]:
    """Cut out one face, aligned on its landmarks (bilinear, black border).

    Args:
        image: uint8 (H, W, 3); the channel order is kept.
        landmarks: (5, 2) points in the image's pixels.

    Returns:
        uint8 (112, 112, 3).

    Raises:
        ImageError: See `similarity_transform`.
    """
    matrix = similarity_transform(landmarks)
    import cv2  # 40 ms and 16 MB that a scorer of crops does without

    if max(image.shape[:2]) > _MOST_SIDE:
        image, matrix = _window(image, matrix)
    crop = cv2.warpAffine(image, matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR)
    return np.asarray(crop, dtype=np.uint8)


def _window(image: NDArray[np.uint8], matrix: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Cut out what the crop is made of (one black pixel where that is nothing), with its own matrix."""
    corners = np.array([(0, 0), (0, CROP_SIZE), (CROP_SIZE, 0), (CROP_SIZE, CROP_SIZE)])
    seen = np.linalg.solve(matrix[:, :2], (corners - matrix[:, 2]).T)
    sides = np.array(image.shape[1::-1])
    first = np.clip(np.floor(seen.min(axis=1)).astype(int) - 2, 0, sides)
    last = np.clip(np.ceil(seen.max(axis=1)).astype(int) + 2, 0, sides)
    if not np.all(last > first):
        return np.zeros((1, 1, *image.shape[2:]), image.dtype), matrix
    moved = np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ first])
    return np.ascontiguousarray(image[first[1] : last[1], first[0] : last[0]]), moved
