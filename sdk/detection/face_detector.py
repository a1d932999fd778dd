"""FaceDetector: runs a detection network at as many scales of an image as the image needs.

A network finds faces only in a range of sizes, and landmarks are precise in a smaller range. The first pass scales the
image's longest side to the first of `DetectionNetwork.passes`. A second pass follows if the first one made the image
smaller, found a small face, or found no face. Further passes follow while the last one found a small face or none.

A face that fills the image may be too large for the first pass. Where that finds nothing, a pass at half its size looks
for such a face, unless the caller chose the passes.
"""

from collections.abc import Sequence
from functools import partial
from os import PathLike
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.detection.boxes import intersection_over_smaller
from sdk.detection.networks import NETWORKS, DetectionNetwork
from sdk.errors import InputError, ModelError
from sdk.images.decoding import MAX_PIXELS, ImageSource, load_image
from sdk.models.loading import load_model, settle
from sdk.results import Face
from sdk.runtimes.per_process import NativeHandle

MAX_ENLARGEMENT = 4
"""Largest scale of a pass. A larger one shows no further detail."""

SMALL_FACE = 60
"""Width in a pass, pixels, below which a face is small: the next pass looks for it again."""

FILLS = 0.6
"""Share of the image's shorter side from which a face fills the image. The pass at half size keeps only such faces: at
that size a head whose face is hidden looks like a small face."""

OVERLAP = 0.5
"""Intersection over the smaller box above which two boxes are one face."""


class FaceDetector:
    """Finds faces and their five landmarks. Several threads may share one.

    It pickles as its arguments. A copy, or a detector in a forked process, opens its model again.

    Args:
        model: Name in the catalogue, or path of a detector's ONNX file. The default comes with the package. `yunet` is
            downloaded once and finds more faces; see docs/detector.md.
        min_confidence: Least confidence of a face, 0 to 1.
        passes: Longest sides of the image, pixels, ascending, one for each pass. With one pass every image takes the
            same time. More passes find smaller faces. None for the model's own, and one at half the size of the first
            where that finds nothing: it finds faces that fill the image.

    Raises:
        ModelError: The model is unknown, cannot be fetched or loaded, or is no detector.
        InputError: `min_confidence` is outside [0, 1], or `passes` is empty or holds a side below 1.

    Examples:
        >>> import numpy as np
        >>> from sdk import FaceDetector
        >>> detector = FaceDetector(min_confidence=0.8)
        >>> detector
        FaceDetector(model='fiqa-detector', min_confidence=0.8)
        >>> detector.detect(np.zeros((480, 640, 3), np.uint8))
        []
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

    def __repr__(self) -> str:
        model, min_confidence, passes = self._settings
        given = "" if passes is None else f", passes={passes}"
        return f"FaceDetector(model={str(model)!r}, min_confidence={min_confidence:g}{given})"

    def detect(self, image: ImageSource) -> list[Face]:
        """Find all faces of an image.

        Args:
            image: Path, bytes, array (BGR) or PIL image; see `sdk.load_image`. An array may have any size; any other
                image at most 64 megapixels.

        Returns:
            The faces, largest box first; an empty list if there is none.

        Raises:
            ImageError: The image cannot be read or is refused.
            ModelError: The network cannot be run, or its file is gone in a forked process.
        """
        # An array is in memory already, so no limit on its size protects anything.
        most = max(MAX_PIXELS, image.size) if isinstance(image, np.ndarray) else MAX_PIXELS
        with self._network as network:
            return _detect(network, self._settings[2], load_image(image, max_pixels=most))


def _open(model: str | PathLike[str], min_confidence: float) -> DetectionNetwork:
    loaded = load_model(model, task="detection")
    if loaded.card.variant not in NETWORKS:
        raise ModelError(
            f"{loaded.path} is a detector of the variant {loaded.card.variant!r}, wanted one of: {', '.join(NETWORKS)}"
        )
    return NETWORKS[loaded.card.variant](loaded, min_confidence)


def _detect(network: DetectionNetwork, given: Sequence[int] | None, pixels: NDArray[np.uint8]) -> list[Face]:
    longest = max(pixels.shape[:2])
    passes = given or network.passes
    scale = min(passes[0] / longest, MAX_ENLARGEMENT)
    faces = _merge([], _detect_at(network, pixels, scale), 0)
    if not faces and given is None:
        least = FILLS * min(pixels.shape[:2])
        faces = [face for face in _merge([], _detect_at(network, pixels, scale / 2), 0) if max(face.box[2:]) >= least]
    for side in passes[1:]:
        if not _needs_another_pass(faces, scale, longest, passes[0]):
            break
        finer = min(side / longest, MAX_ENLARGEMENT)
        faces = _merge(faces, _detect_at(network, pixels, finer), SMALL_FACE / scale)
        scale = finer
    return sorted(faces, key=lambda face: face.box[2] * face.box[3], reverse=True)


def _detect_at(network: DetectionNetwork, pixels: NDArray[np.uint8], scale: float) -> list[Face]:
    """Find faces in one pass at a scale; return them in pixels of the original image."""
    height, width = pixels.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    rows = network.find(np.asarray(resized, np.uint8))
    rows[:, :14] *= np.tile((width / size[0], height / size[1]), 7)
    return [
        Face((float(x), float(y), float(w), float(h)), np.array(points, np.float32).reshape(5, 2), float(confidence))
        for x, y, w, h, *points, confidence in rows
    ]


def _needs_another_pass(faces: list[Face], scale: float, longest: int, first: int) -> bool:
    """Tell whether a finer pass than the one at `scale` may find more. `first` is the longest side of the first."""
    if scale >= MAX_ENLARGEMENT:
        return False
    reduced_by_first_pass = scale < 1 and scale * longest <= first
    return reduced_by_first_pass or not faces or min(face.box[2] for face in faces) * scale < SMALL_FACE


def _merge(coarse: list[Face], fine: list[Face], small: float) -> list[Face]:
    """Merge the faces of two passes.

    If both passes find a face, the fine pass wins if the coarse one found it small or with less confidence. Otherwise
    the coarse pass wins: the fine pass may see only a part of the face, or a face that is too large for the network.

    Args:
        coarse: Faces of the pass before.
        fine: Faces of this pass, most confident first. Of overlapping ones the first is kept.
        small: Width below which a face of the coarse pass is small, pixels of the image.
    """
    left = list(coarse)
    new: list[Face] = []
    for face in fine:
        same = [old for old in left if _is_same(old, face)]
        seen = any(_is_same(other, face) for other in new)
        if not seen and all(old.box[2] < small or old.confidence < face.confidence for old in same):
            left = [old for old in left if old not in same]
            new.append(face)
    return left + new


def _is_same(a: Face, b: Face) -> bool:
    return intersection_over_smaller(a.box, b.box) > OVERLAP
