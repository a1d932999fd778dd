"""FaceDetector: a detector's passes over an image, on as many scales as the image needs.

A detector finds faces of some sizes, and places landmarks well at fewer. The first pass scales the longest side of the
image to the first of `Detector.passes`. A second pass follows if the first one reduced the image, found a small face or
found none; further passes follow while that is so.
"""

from collections.abc import Sequence
from functools import partial
from os import PathLike
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.detection.networks import DETECTORS, Detector
from sdk.errors import InputError, ModelError
from sdk.images.decoding import MAX_PIXELS, ImageSource, load_image
from sdk.models.loading import load_model, settle
from sdk.results import Face
from sdk.runtimes.per_process import NativeHandle

MAX_ENLARGEMENT = 4
"""An image is not enlarged more than this: it shows no more."""

SMALL_FACE = 60
"""A face narrower than this in a pass, pixels, is looked at again in the next one."""

OVERLAP = 0.5
"""Share of the smaller box from which two boxes are one face."""


class FaceDetector:
    """Finds faces and their five landmarks. May be used from several threads.

    Pickles as its arguments: a copy, and a detector in a forked process, opens the model again.

    Args:
        model: Name in the catalogue, or path of a detector's ONNX file. The default is in the package; `yunet` is
            fetched once, and finds more, see docs/detector.md.
        min_confidence: Faces below it are left out, 0 to 1.
        passes: Longest side of the image in each pass, pixels, ascending; None for the detector's own. One pass takes
            the same time whatever is in the image; more find small faces.

    Raises:
        ModelError: The model is unknown, cannot be fetched, or is not a detector that can be loaded.
        InputError: `min_confidence` is outside [0, 1], or there is no pass.
    """

    def __init__(
        self,
        model: str | PathLike[str] = "fiqa-detector",
        min_confidence: float = 0.7,
        *,
        passes: Sequence[int] | None = None,
    ) -> None:
        if passes is not None and (not passes or min(passes) < 1):
            raise InputError(f"passes is {passes!r}, wanted one or more sides in pixels, such as (640,)")
        if not 0 <= min_confidence <= 1:
            raise InputError(f"min_confidence is {min_confidence}, wanted a number in [0, 1]")
        settled = settle(model)
        self._settings = (settled, min_confidence, None if passes is None else tuple(passes))
        self._network = NativeHandle(_open(model, min_confidence), partial(_open, settled, min_confidence))

    def __getstate__(self) -> tuple[object, ...]:
        """Pickle the arguments."""
        return self._settings

    def __setstate__(self, settings: tuple[Any, ...]) -> None:
        """Open the model again."""
        model, min_confidence, passes = settings
        FaceDetector.__init__(self, model, min_confidence, passes=passes)

    def detect(self, image: ImageSource) -> list[Face]:
        """Find all faces of an image.

        Args:
            image: Path, bytes, array (BGR) or PIL image.

        Returns:
            The faces, largest box first; empty when there is none.

        Raises:
            ImageError: The image cannot be read or is refused.
        """
        # An array is in memory already: how large it may be is for its owner to say.
        most = max(MAX_PIXELS, image.size) if isinstance(image, np.ndarray) else MAX_PIXELS
        with self._network as detector:
            return _detect(detector, self._settings[2] or detector.passes, load_image(image, max_pixels=most))


def _open(model: str | PathLike[str], min_confidence: float) -> Detector:
    loaded = load_model(model)
    if loaded.card.task != "detection" or loaded.card.variant not in DETECTORS:
        raise ModelError(
            f"{loaded.path} is a model for {loaded.card.task}, variant {loaded.card.variant!r}, "
            f"wanted detection by one of: {', '.join(DETECTORS)}"
        )
    return DETECTORS[loaded.card.variant](loaded, min_confidence)


def _detect(detector: Detector, passes: Sequence[int], pixels: NDArray[np.uint8]) -> list[Face]:
    longest = max(pixels.shape[:2])
    faces: list[Face] = []
    scale = 0.0
    for side in passes:
        if scale and not _needs_another_pass(faces, scale, longest, passes[0]):
            break
        finer = min(side / longest, MAX_ENLARGEMENT)
        faces = _merge(faces, _detect_at(detector, pixels, finer), SMALL_FACE / scale if scale else 0)
        scale = finer
    return sorted(faces, key=lambda face: face.box[2] * face.box[3], reverse=True)


def _detect_at(detector: Detector, pixels: NDArray[np.uint8], scale: float) -> list[Face]:
    """One pass; results are in pixels of the unscaled image."""
    height, width = pixels.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    rows = detector.find(np.asarray(resized, np.uint8))
    rows[:, :14] *= np.tile((width / size[0], height / size[1]), 7)
    return [
        Face((float(x), float(y), float(w), float(h)), np.array(points, np.float32).reshape(5, 2), float(confidence))
        for x, y, w, h, *points, confidence in rows
    ]


def _needs_another_pass(faces: list[Face], scale: float, longest: int, first: int) -> bool:
    """Whether a finer pass than the one at `scale` may show more."""
    if scale >= MAX_ENLARGEMENT:
        return False
    reduced_by_first_pass = scale < 1 and scale * longest <= first
    return reduced_by_first_pass or not faces or min(face.box[2] for face in faces) * scale < SMALL_FACE


def _merge(coarse: list[Face], fine: list[Face], small: float) -> list[Face]:
    """Both passes' faces.

    Args:
        coarse: Of the pass before.
        fine: The most confident first: of those of one place it stays.
        small: A face of the coarse pass that is seen again goes where it is narrower than this, pixels, or less
            confident; else it stays, and what is seen again is a part of it, or the same from too near.
    """
    left = list(coarse)
    new: list[Face] = []
    for face in fine:
        same = [old for old in left if _overlap(old, face) > OVERLAP]
        seen = any(_overlap(other, face) > OVERLAP for other in new)
        if not seen and all(old.box[2] < small or old.confidence < face.confidence for old in same):
            left = [old for old in left if old not in same]
            new.append(face)
    return left + new


def _overlap(a: Face, b: Face) -> float:
    """Area that two boxes share, over that of the smaller box."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.box, b.box
    width = min(ax + aw, bx + bw) - max(ax, bx)
    height = min(ay + ah, by + bh) - max(ay, by)
    return max(width, 0.0) * max(height, 0.0) / min(aw * ah, bw * bh)
