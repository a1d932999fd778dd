"""Similarity transforms and crops, against recordings."""

import zlib
from pathlib import Path

import numpy as np
import pytest

from sdk import ImageError, align
from sdk.alignment import TEMPLATE, similarity_transform

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "alignment.npz"


def golden_image() -> np.ndarray:
    """uint8 (240, 320, 3): noise, smoothed along both axes."""
    image = np.random.default_rng(zlib.crc32(b"align")).uniform(-1, 1, (3, 240, 320))
    for axis in (-1, -2):
        image = np.mean([np.roll(image, shift, axis) for shift in range(-3, 4)], axis=0)
    smooth = np.clip(3 * image, -1, 1).astype(np.float32)
    return (127.5 * (smooth.transpose(1, 2, 0) + 1)).round().astype(np.uint8)


def test_recorded_transforms() -> None:
    golden = np.load(GOLDEN)
    np.testing.assert_allclose(similarity_transform(golden["landmarks"]), golden["matrices"], rtol=0, atol=1e-4)
    for landmarks, matrix in zip(golden["landmarks"], golden["matrices"], strict=True):
        np.testing.assert_allclose(similarity_transform(landmarks), matrix, rtol=0, atol=1e-4)


def test_recorded_crops() -> None:
    golden = np.load(GOLDEN)
    image = golden_image()
    for landmarks, crop in zip(golden["landmarks"], golden["crops"], strict=False):
        assert np.abs(align(image, landmarks).astype(int) - crop).max() <= 1
    assert len(golden["crops"]) == 2


def test_a_face_on_the_template_stays() -> None:
    face = golden_image()[:112, :112]
    np.testing.assert_array_equal(align(face, TEMPLATE), face)


@pytest.mark.parametrize(
    ("name", "landmarks", "message"),
    [
        ("four points", np.zeros((4, 2)), "shape"),
        ("flat", np.zeros(10), "shape"),
        ("NaN", np.full((5, 2), np.nan), "NaN"),
        ("one point", np.ones((5, 2)), "one point"),
    ],
)
def test_refused(name: str, landmarks: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        align(golden_image(), landmarks)
