"""The faces that an export is verified on."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.verify import BATCHES
from sdk.alignment import CROP_SIZE
from sdk.errors import InputError
from sdk.images import load_image
from train.data.degradations import DEGRADATIONS, degrade

GRADES = (0.3, 0.7)


def verification_faces(folder: Path | None = None) -> NDArray[np.uint8]:
    """Aligned crops: the user's own, or a public-domain portrait, its mirror image and damaged copies of both.

    Args:
        folder: At least 16 images of 112 x 112.

    Returns:
        uint8 BGR (N, 112, 112, 3), N at least 16.

    Raises:
        InputError: The folder is missing, holds too few images, or one of another size.
    """
    return _packaged_faces() if folder is None else _faces_in(folder)


def _packaged_faces() -> NDArray[np.uint8]:
    portrait = load_image(Path(__file__).with_name("face.png"))
    mirrored = np.ascontiguousarray(portrait[:, ::-1])
    rng = np.random.default_rng(0)
    copies = [
        degrade(face, [(kind, grade)], rng)
        for face, grade in zip((portrait, mirrored), GRADES, strict=True)
        for kind in DEGRADATIONS
    ]
    return np.stack([portrait, mirrored, *copies])


def _faces_in(folder: Path) -> NDArray[np.uint8]:
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; give --faces a folder of aligned {CROP_SIZE} x {CROP_SIZE} crops")
    crops = []
    for path in sorted(file for file in folder.iterdir() if file.is_file()):
        crop = load_image(path)
        if crop.shape != (CROP_SIZE, CROP_SIZE, 3):
            raise InputError(
                f"{path} is {crop.shape[1]} x {crop.shape[0]}, wanted an aligned crop of {CROP_SIZE} x {CROP_SIZE}; "
                "cut it out with sdk.align"
            )
        crops.append(crop)
    if len(crops) < max(BATCHES):
        raise InputError(f"{folder} holds {len(crops)} images, wanted at least {max(BATCHES)}, a whole largest batch")
    return np.stack(crops)
