"""Alignment: a crop shows the image, and outside it the border, wherever the face lies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import sdk.alignment
from sdk.alignment import TEMPLATE, Border, align
from tests.support.strategies import SOME

SIDES = (60, 90)
MARGIN = 700

borders = st.sampled_from(("black", "replicate"))


@st.composite
def faces(draw: st.DrawFn) -> NDArray[np.float64]:
    """Landmarks of a face of any size and turn, inside, half outside or wholly outside of an image of `SIDES`."""
    angle, scale = draw(st.floats(-3, 3)), draw(st.floats(0.3, 2.0))
    turn = scale * np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    return (TEMPLATE - 56) @ turn + (draw(st.floats(-300, 390)), draw(st.floats(-300, 360)))


def picture() -> NDArray[np.uint8]:
    """Return a smooth uint8 image of `SIDES`: steps of the interpolation change little."""
    y, x = np.mgrid[: SIDES[0], : SIDES[1]]
    return np.stack([60 + x, 250 - 2 * y, 100 + x // 2 + y // 2], axis=-1).astype(np.uint8)


@SOME
@given(landmarks=faces(), border=borders)
def test_the_border_is_that_of_a_padded_image(landmarks: NDArray[np.float64], border: Border) -> None:
    mode = "edge" if border == "replicate" else "constant"
    padded = np.pad(picture(), ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode)
    found = align(picture(), landmarks, border=border).astype(int)
    wanted = align(np.ascontiguousarray(padded), landmarks + MARGIN).astype(int)
    assert np.abs(found - wanted).max() <= 12  # a step of 1/32 pixel between black and white is 8


@SOME
@given(landmarks=faces(), border=borders)
def test_a_part_of_a_huge_image_gives_the_same_crop(landmarks: NDArray[np.float64], border: Border) -> None:
    whole = align(picture(), landmarks, border=border).astype(int)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sdk.alignment, "_MOST_SIDE", 10)
        part = align(picture(), landmarks, border=border).astype(int)
    assert np.abs(part - whole).max() <= 12
