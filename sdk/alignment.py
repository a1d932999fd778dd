"""Alignment: five landmarks -> similarity transform -> aligned crop of 112 x 112.

The template is ArcFace's. The transform is the least-squares similarity of Umeyama (IEEE TPAMI 1991), here in closed
form: with points as complex numbers, a similarity without reflection is `z -> a z + b`, and `a` is one division.
"""

from collections.abc import Iterable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdk.errors import ImageError, InputError

CROP_SIZE = 112
"""Side of an aligned crop, pixels."""

CROP_SHAPE = (CROP_SIZE, CROP_SIZE, 3)
"""Shape of an aligned crop."""

TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)],
    dtype=np.float64,
)
"""float64 (5, 2): x, y of left eye, right eye, nose tip, left and right mouth corner (as seen in the image), pixels of
the crop."""

MOST_PIXELS = 1e7
"""Largest coordinate of a landmark, pixels; larger ones could overflow the sums."""

Border = Literal["black", "replicate"]
"""What a crop shows outside the image: black, or the image's nearest pixel."""

LEAST_SCALE, MOST_SCALE = 1 / 200, 1000.0
"""Scales of a crop: from one pixel for 200 of the image to 1000 for one. No face needs more."""

_MOST_SIDE = 32766
"""Largest side of an image in `cv2.warpAffine` (OpenCV 4), pixels."""


def similarity_transform(landmarks: ArrayLike, template: ArrayLike = TEMPLATE) -> NDArray[np.float64]:
    """Compute the least-squares similarity transforms from landmarks to a template.

    Args:
        landmarks: (5, 2) or (N, 5, 2): x, y in pixels of the image.
        template: (5, 2): x, y of the target.

    Returns:
        float64 (2, 3) or (N, 2, 3): matrices for `cv2.warpAffine`.

    Raises:
        ImageError: The landmarks have another shape, are not finite, lie outside any image, all coincide, or need a
            scale outside `LEAST_SCALE` to `MOST_SCALE`.
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


def check_border(border: Any) -> Border:
    """Return a border if it is one.

    Raises:
        InputError: It is not.
    """
    if border not in get_args(Border):
        raise InputError(f"border is {border!r}, wanted 'black' or 'replicate'")
    return border


def align(image: NDArray[np.uint8], landmarks: ArrayLike, *, border: Border = "black") -> NDArray[np.uint8]:
    """Cut out a face, aligned by its landmarks. Pixels are interpolated bilinearly.

    Args:
        image: uint8 (H, W, 3); the channel order is kept.
        landmarks: (5, 2): x, y in pixels of the image, in the order of `Face.landmarks`.
        border: `black`, or `replicate`: outside the image the crop shows the image's nearest pixel. `QualityScorer`
            aligns with `black`.

    Returns:
        uint8 (112, 112, 3).

    Raises:
        InputError: The border is another one.
        ImageError: The landmarks have another shape, are not finite, lie outside any image, all coincide, or need a
            scale that no face has.

    Examples:
        >>> import numpy as np
        >>> from sdk import align
        >>> eyes_nose_mouth = [(80, 100), (150, 100), (115, 140), (85, 180), (145, 180)]
        >>> align(np.zeros((300, 240, 3), np.uint8), eyes_nose_mouth).shape
        (112, 112, 3)
    """
    check_border(border)
    matrix = similarity_transform(landmarks)
    import cv2  # imported late: 40 ms and 16 MB that a scorer of crops does not need

    if max(image.shape[:2]) > _MOST_SIDE:
        image, matrix = _window(image, matrix)
    mode = cv2.BORDER_REPLICATE if border == "replicate" else cv2.BORDER_CONSTANT
    crop = cv2.warpAffine(image, matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR, borderMode=mode)
    return np.asarray(crop, dtype=np.uint8)


def _window(image: NDArray[np.uint8], matrix: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Cut out the part of an image that the crop shows, and adapt the matrix.

    If it shows nothing, the part is the nearest edge: the crop is more than a pixel away from it, so a black border
    stays black and a replicated one is right.
    """
    corners = np.array([(0, 0), (0, CROP_SIZE), (CROP_SIZE, 0), (CROP_SIZE, CROP_SIZE)])
    seen = np.linalg.solve(matrix[:, :2], (corners - matrix[:, 2]).T)
    sides = np.array(image.shape[1::-1])
    first = np.clip(np.floor(seen.min(axis=1)).astype(int) - 2, 0, sides - 1)
    last = np.clip(np.ceil(seen.max(axis=1)).astype(int) + 2, first + 1, sides)
    moved = np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ first])
    return np.ascontiguousarray(image[first[1] : last[1], first[0] : last[0]]), moved


def check_crop(face: Any, name: str) -> NDArray[np.uint8]:
    """Return a face if it is an aligned crop: uint8 (112, 112, 3).

    Args:
        face: Value of any type.
        name: The face's name for the error.

    Raises:
        ImageError: It is no array, or has another type or shape.
    """
    if not isinstance(face, np.ndarray) or isinstance(face, np.ma.MaskedArray):
        raise ImageError(f"{name} is a {type(face).__name__}, wanted a numpy array; `assess` takes images")
    if face.dtype != np.uint8 or face.shape != CROP_SHAPE:
        raise ImageError(
            f"{name} is {face.dtype} {face.shape}, wanted uint8 {CROP_SHAPE} BGR, aligned; "
            "use `sdk.align` on its landmarks, or `assess` on the whole image"
        )
    return np.asarray(face)


def check_crops(faces: Any) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
    """Return faces if they are aligned crops: uint8 (N, 112, 112, 3), or a sequence of (112, 112, 3).

    Raises:
        ImageError: A face is no array, or has another type or shape.
    """
    if isinstance(faces, np.ndarray) and not isinstance(faces, np.ma.MaskedArray):
        if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[1:] != CROP_SHAPE:
            raise ImageError(f"faces are {faces.dtype} {faces.shape}, wanted uint8 (N, 112, 112, 3) BGR, aligned")
        return np.asarray(faces)
    if not isinstance(faces, Iterable) or isinstance(faces, np.ma.MaskedArray):
        raise ImageError(f"faces are a {type(faces).__name__}, wanted an array or a sequence of arrays")
    return [check_crop(face, f"face {index}") for index, face in enumerate(faces)]
