"""Faces to calibrate and to verify an export on."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.proof.runtimes import BATCHES
from sdk import FaceDetector
from sdk.errors import InputError
from sdk.images.decoding import load_image
from sdk.images.folders import images_below
from sdk.proof.verify import read_faces
from train.degradations.graded import DEGRADATIONS, degrade, draw_damages

GRADES = (0.15, 0.3, 0.55, 0.7)
"""Grades of damage of the packaged faces to verify on, in [0, 1]."""

CALIBRATION_GRADES = (0.1, 0.2, 0.4, 0.5, 0.6, 0.8, 0.9)
"""Grades of damage of the packaged faces to calibrate on. They differ from `GRADES`: a file is proven on other
faces than it was calibrated on."""

MOST = 512
"""Largest number of faces that ranges are measured on; more change nothing."""

FEWEST_FACES = 0.25
"""Share of a folder's images in which a face must be found: it is in two thirds of damaged faces, in 3 % of noise."""


def verification_faces(folder: Path | None = None) -> NDArray[np.uint8]:
    """Return aligned crops: the user's own, or a public-domain portrait, its mirror image and damaged copies of both.

    Args:
        folder: Holds at least 16 images of 112 x 112; None for the packaged portrait.

    Returns:
        uint8 BGR (N, 112, 112, 3), N at least 16.

    Raises:
        InputError: The folder is missing, or holds too few images, an image of another size, or too few faces.
    """
    return _packaged(GRADES, seed=0) if folder is None else _faces_in(folder, "--faces")


def calibration_faces(folder: Path | None = None) -> NDArray[np.uint8]:
    """Return crops to measure the ranges of activations on: each face, and a damaged copy of it.

    Args:
        folder: Holds at least 16 images of 112 x 112. Up to half of `MOST` are taken, evenly spread. None for the
            packaged portrait, damaged in many ways.

    Returns:
        uint8 BGR (N, 112, 112, 3).

    Raises:
        InputError: See `verification_faces`.
    """
    if folder is None:
        return _packaged(CALIBRATION_GRADES, seed=1)
    faces = _faces_in(folder, "--calibration")
    faces = faces[np.linspace(0, len(faces) - 1, min(len(faces), MOST // 2)).round().astype(int)]
    rng = np.random.default_rng(0)
    return np.concatenate([faces, np.stack([degrade(face, draw_damages((0, 1), rng), rng) for face in faces])])


def packaged_face() -> NDArray[np.uint8]:
    """Return the packaged portrait, a crop of 112 x 112, uint8 BGR."""
    return load_image(Path(__file__).with_name("face.png"))


def _packaged(grades: tuple[float, ...], seed: int) -> NDArray[np.uint8]:
    """Return a portrait, its mirror image, and copies of the two in turn, damaged in every way to each grade."""
    portrait = packaged_face()
    both = (portrait, np.ascontiguousarray(portrait[:, ::-1]))
    rng = np.random.default_rng(seed)
    copies = [
        degrade(both[index % 2], [(kind, grade)], rng) for index, grade in enumerate(grades) for kind in DEGRADATIONS
    ]
    return np.stack([*both, *copies])


def _faces_in(folder: Path, option: str) -> NDArray[np.uint8]:
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; give {option} a folder of aligned 112 x 112 crops")
    count = len(images_below(folder))
    if count < max(BATCHES):
        raise InputError(
            f"{folder} holds {count} faces, wanted at least {max(BATCHES)}, a whole largest batch; "
            f"give {option} a folder of more aligned 112 x 112 crops"
        )
    crops = read_faces(folder)
    share = _share_with_face(crops)
    if share < FEWEST_FACES:
        raise InputError(
            f"a face is found in {share:.0%} of the images of {folder}, wanted at least {FEWEST_FACES:.0%}; "
            f"give {option} a folder of faces, aligned by `fiqa-train prepare` or `sdk.align`"
        )
    return crops


def _share_with_face(crops: NDArray[np.uint8]) -> float:
    """Return the share of up to 32 crops in which the detector finds a face, 0 to 1."""
    some = crops[np.linspace(0, len(crops) - 1, min(len(crops), 32)).round().astype(int)]
    detector = FaceDetector()
    around = crops.shape[1] // 2  # detectors need room around a face, and an aligned crop has none
    padded = np.pad(some, ((0, 0), (around, around), (around, around), (0, 0)), constant_values=127)
    return sum(bool(detector.detect(image)) for image in padded) / len(padded)
