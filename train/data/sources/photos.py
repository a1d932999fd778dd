"""Photos of people: an image, and the landmarks of the face that is meant.

Landmarks come from the manifest. Where it has none, a detector finds them; of several faces `sdk.detection.meant`
chooses one, as for `fiqa calibrate`. An image of 112 x 112 pixels without landmarks is an aligned crop.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.alignment import CROP_SHAPE, CROP_SIZE
from sdk.detection.face_detector import FaceDetector
from sdk.detection.meant import meant_face
from sdk.errors import ImageError
from sdk.images.decoding import load_image
from sdk.models.loading import settle
from train.data.manifest import Manifest
from train.lazy import Lazy


class NoFaceError(ImageError):
    """The detector finds no face in a photo."""


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A photo and its face.

    Attributes:
        image: uint8 BGR (H, W, 3).
        landmarks: float64 (5, 2) in pixels of the image; None where the image is an aligned crop (112, 112, 3).
        found: Number of faces that the detector found; 0 where it was not asked.
    """

    image: NDArray[np.uint8]
    landmarks: NDArray[np.float64] | None
    found: int = 0


class PhotoReader:
    """Reads the photos of a manifest. Several threads may share one.

    Args:
        manifest: Images.
        detector: Detector for photos without landmarks: name in the catalogue, or path of a model file. It is loaded
            when the first such photo is read.
        aligned: Take images without landmarks as aligned crops of any size, and scale them to 112 x 112.
    """

    def __init__(self, manifest: Manifest, detector: str, aligned: bool = False) -> None:
        self._manifest, self._aligned = manifest, aligned
        self._detector = Lazy(partial(FaceDetector, settle(detector)))

    def read(self, row: int) -> Photo:
        """Read a photo.

        Raises:
            ImageError: It cannot be read, or is not square and taken as a crop.
            NoFaceError: No face is found in it.
            ModelError: The detector cannot be loaded.
        """
        path = self._manifest.root / self._manifest.table["path"][row].as_py()
        image, landmarks = load_image(path), self._manifest.landmarks(row)
        if landmarks is not None:
            return Photo(image, landmarks)
        if self._aligned:
            return Photo(_scaled(image, path), None)
        if image.shape == CROP_SHAPE:
            return Photo(image, None)
        faces = self._detector().detect(image)
        if not faces:
            raise NoFaceError(f"{path}: no face found")
        face = meant_face(faces, *image.shape[:2])
        return Photo(image, face.landmarks.astype(np.float64), len(faces))


def _scaled(crop: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    height, width = crop.shape[:2]
    if height != width:
        raise ImageError(f"{path} is {width} x {height}, wanted a square: an aligned crop; leave out --aligned")
    if height == CROP_SIZE:
        return crop
    method = cv2.INTER_AREA if height > CROP_SIZE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(crop, (CROP_SIZE, CROP_SIZE), interpolation=method), np.uint8)
