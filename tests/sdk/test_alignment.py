"""Similarity transforms and crops, compared with recorded ones."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from sdk import ImageError, InputError, align
from sdk.alignment import TEMPLATE, similarity_transform

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "alignment.npz"


def golden_image() -> np.ndarray:
    """Return uint8 (240, 320, 3): noise, smoothed along both axes."""
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


@pytest.mark.parametrize("side", ["wide", "tall"])
def test_images_beyond_32766_pixels(side: str) -> None:
    image = np.zeros((240, 33_000, 3), np.uint8)
    image[:, -320:] = golden_image()
    landmarks = 1.3 * TEMPLATE @ np.array([[0.8, 0.6], [-0.6, 0.8]]) + (140, 20)
    expected = align(golden_image(), landmarks)
    if side == "tall":
        image, landmarks = np.rot90(image, -1), np.column_stack([239 - landmarks[:, 1], 32_680 + landmarks[:, 0]])
    else:
        landmarks = landmarks + np.array([32_680, 0])
    crop = align(np.ascontiguousarray(image), landmarks)
    assert expected.mean() > 50
    assert np.abs(crop.astype(int) - expected).max() <= 3  # OpenCV 4 has steps of 1/32 pixel
    assert not align(np.ascontiguousarray(image), TEMPLATE - 5000).any()


def test_outside_the_image_a_crop_is_black_or_shows_the_edge() -> None:
    image = golden_image()[:100, :80]
    black, edge = (align(image, TEMPLATE, border=border) for border in ("black", "replicate"))
    np.testing.assert_array_equal(black, np.pad(image, ((0, 12), (0, 32), (0, 0))))
    np.testing.assert_array_equal(edge, np.pad(image, ((0, 12), (0, 32), (0, 0)), "edge"))
    np.testing.assert_array_equal(align(image, TEMPLATE), black)


@pytest.mark.parametrize("border", ["Black", "reflect", "", None, 1, ["black"]])
def test_an_unknown_border(border: Any) -> None:
    with pytest.raises(InputError, match=r"^border is .*, wanted 'black' or 'replicate'$"):
        align(golden_image(), TEMPLATE, border=border)


@pytest.mark.parametrize(
    ("name", "landmarks", "message"),
    [
        ("four points", np.zeros((4, 2)), "shape"),
        ("flat", np.zeros(10), "shape"),
        ("NaN", np.full((5, 2), np.nan), "NaN"),
        ("one point", np.ones((5, 2)), "one point"),
        ("a point beyond all images", np.vstack([TEMPLATE[:4], [[7e200, 3.0]]]), "7e\\+200 pixels"),
        ("far in the negative", -1.5e7 + TEMPLATE, "1.5e\\+07 pixels"),
        ("the largest numbers", np.full((5, 2), np.finfo(float).max) * np.sign(TEMPLATE - 60), "e\\+308"),
        ("subnormal distances", 5e-324 * np.arange(10).reshape(5, 2), "one point"),
        ("distances whose squares are nothing", 1e-300 * TEMPLATE, "one point"),
        ("a face in a hundredth of a pixel", 3.0 + 1e-4 * TEMPLATE, "one point"),
        ("a face of 45,000 pixels", 401.0 * TEMPLATE, "scale of 0.0025"),
        ("scrambled", np.column_stack([[1, 0, 0, 0, -1], [0, 1, 0, -1, 0]]) @ [[3e6, 0], [0, 1.0]], "scale"),
        ("a number that no float holds", [[10**400, 0]] * 5, "no numbers"),
        ("names", [["left", "eye"]] * 5, "no numbers"),
        ("nothing", None, "shape|no numbers|NaN"),
    ],
)
def test_refused(name: str, landmarks: ArrayLike, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        align(golden_image(), landmarks)
