"""Faces to calibrate and verify on: the packaged ones, and the user's own."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from export.proof.crops import calibration_faces, verification_faces
from sdk import InputError
from sdk.alignment import align
from sdk.images.decoding import load_image


def test_calibration_faces(tmp_path: Path, faces: NDArray[np.uint8]) -> None:
    packaged = calibration_faces()
    assert packaged.shape == (58, 112, 112, 3)
    seen = {face.tobytes() for face in verification_faces()[2:]}
    assert not seen & {face.tobytes() for face in packaged}
    with pytest.raises(InputError, match=r"no folder .*; give --calibration a folder"):
        calibration_faces(tmp_path / "none")
    (tmp_path / "note.txt").write_text("no face")
    with pytest.raises(InputError, match=r"holds 0 faces, wanted at least 16, .* give --calibration a folder"):
        calibration_faces(tmp_path)
    for index, face in enumerate(faces):
        cv2.imwrite(str(tmp_path / f"{index:02}.png"), face)
    own = calibration_faces(tmp_path)
    np.testing.assert_array_equal(own[: len(faces)], faces)
    assert own.shape == (2 * len(faces), 112, 112, 3)
    assert all(np.any(copy != face) for copy, face in zip(own[len(faces) :], faces, strict=True))


ROOT = Path(__file__).parents[3]


def test_the_packaged_face_is_the_astronaut(faces: NDArray[np.uint8]) -> None:
    assert faces.shape == (34, 112, 112, 3)
    assert len(np.unique(faces.reshape(34, -1), axis=0)) == 34
    # Landmarks as YuNet finds them at 1024 pixels.
    landmarks = [(201.74, 104.98), (245.29, 105.35), (220.66, 126.84), (203.66, 144.84), (241.99, 144.98)]
    crop = align(load_image(ROOT / "examples/media/astronaut.jpg"), landmarks)
    assert np.abs(crop.astype(int) - faces[0]).max() <= 2


def test_own_faces(tmp_path: Path, faces: NDArray[np.uint8]) -> None:
    folder = tmp_path / "faces"
    with pytest.raises(InputError, match="no folder"):
        verification_faces(folder)
    folder.mkdir()
    for index, face in enumerate(faces[:15]):
        cv2.imwrite(str(folder / f"{index:02}.png"), face)
    with pytest.raises(InputError, match="holds 15 faces, wanted at least 16"):
        verification_faces(folder)
    cv2.imwrite(str(folder / "15.png"), faces[15])
    np.testing.assert_array_equal(verification_faces(folder), faces[:16])
    cv2.imwrite(str(folder / "16.png"), faces[0][:100])
    with pytest.raises(InputError, match=r"16\.png is \(100, 112, 3\), wanted aligned crops"):
        verification_faces(folder)


def test_images_without_a_face(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for index in range(16):
        cv2.imwrite(str(tmp_path / f"{index:02}.png"), draw.integers(0, 256, (112, 112, 3), np.uint8))
    for read, option in ((verification_faces, "--faces"), (calibration_faces, "--calibration")):
        words = rf"a face is found in \d% of the images of .*, wanted at least 25%; give {option} a"
        with pytest.raises(InputError, match=words):
            read(tmp_path)
