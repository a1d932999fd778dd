"""All measures of faces, and their reasons."""

from collections.abc import Mapping, Sequence
from functools import cache
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sdk.alignment import align, check_crop
from sdk.decision.measures import SCALES, make_measure
from sdk.decision.reasons import find_reasons
from sdk.decision.texts import default_texts, read_texts
from sdk.errors import InputError
from sdk.measuring.damage import DamageNetwork
from sdk.measuring.geometry import geometry
from sdk.measuring.light import light
from sdk.results import Face, Measure, Reason

if TYPE_CHECKING:
    from sdk.images.decoding import ImageSource

Measures = Mapping[str, Measure]


class Measurer:
    """Measures faces, whatever model scores them. Several threads may share one.

    Args:
        texts: File of the reasons' texts, see `sdk.decision.texts.read_texts`; None for English.

    Raises:
        InputError: The file cannot be read, or its codes are not those of fiqa.
        ModelError: The embedded network cannot be loaded.
    """

    def __init__(self, texts: str | PathLike[str] | None = None) -> None:
        self._texts = default_texts() if texts is None else read_texts(Path(texts))
        self._network = DamageNetwork()

    def faces(
        self, image: NDArray[np.uint8], faces: Sequence[Face], crops: Sequence[NDArray[np.uint8]]
    ) -> list[Measures]:
        """Measure all faces of a picture.

        Args:
            image: uint8 BGR (H, W, 3).
            faces: All that were found in it.
            crops: The aligned faces, uint8 BGR (112, 112, 3).
        """
        height, width = image.shape[:2]
        return [
            self._measures(crop, geometry(face.landmarks, height, width) | {"faces": float(len(faces))})
            for face, crop in zip(faces, crops, strict=True)
        ]

    def crop(self, crop: NDArray[np.uint8]) -> Measures:
        """Measure an aligned face, uint8 BGR (112, 112, 3), without its picture.

        What only the picture and the landmarks tell is left out: eye distance, pitch, roll, and what is cut off.
        """
        return self._measures(crop, {})

    @property
    def texts(self) -> Mapping[str, str]:
        """Text of each reason, by its code."""
        return self._texts

    def reasons(self, measures: Measures) -> tuple[Reason, ...]:
        """Return what is wrong, the worst first."""
        return find_reasons(measures, self._texts)

    def _measures(self, crop: NDArray[np.uint8], known: dict[str, float]) -> Measures:
        values = self._network.measures(crop[None])[0] | light(crop) | known
        if "eye_distance" in values:
            values["resolution"] = min(values["resolution"], values["eye_distance"])
        return MappingProxyType({name: make_measure(name, values[name]) for name in SCALES if name in values})


def measure(image: "ImageSource", face: Face | None = None) -> Measures:
    """Measure one face of a picture; no quality model takes part. See docs/reasons.md for all measures.

    Args:
        image: Path, bytes, array (BGR) or PIL image; see `sdk.load_image`.
        face: The face, as `FaceDetector.detect` found it; None where the image is an aligned crop of 112 x 112.

    Returns:
        Measures by name. Without `face`, those that need the picture are missing. The number of faces is known to
        `QualityScorer.assess` alone.

    Raises:
        ImageError: The image cannot be read or is refused, or the landmarks make no face.
        ModelError: The embedded network cannot be loaded.

    Examples:
        >>> import numpy as np
        >>> from sdk import Face, measure
        >>> eyes_nose_mouth = np.array([(80, 100), (150, 100), (115, 140), (85, 180), (145, 180)], np.float32)
        >>> face = Face((40, 40, 150, 190), eyes_nose_mouth, 0.9)
        >>> measure(np.zeros((300, 240, 3), np.uint8), face)["eye_distance"]
        Measure(value=70.0, unit='px', quality=88)
    """
    from sdk.images.decoding import load_image

    if face is not None and not isinstance(face, Face):
        raise InputError(f"face is {face!r}, wanted a Face that FaceDetector.detect gives, or None for a crop")
    pixels = load_image(image)
    if face is None:
        return _shared().crop(check_crop(pixels, "an image without a face"))
    known = geometry(face.landmarks, *pixels.shape[:2])
    return _shared()._measures(align(pixels, face.landmarks), known)


@cache
def _shared() -> Measurer:
    return Measurer()
