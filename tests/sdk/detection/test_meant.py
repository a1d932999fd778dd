"""The face that is meant in a photo with several."""

import numpy as np
import pytest

from sdk.detection.meant import meant_face
from sdk.results import Face


def face(x: float, y: float, side: float) -> Face:
    return Face((x, y, side, side), np.zeros((5, 2), np.float32), 0.9)


@pytest.mark.parametrize(
    ("boxes", "meant"),
    [
        ([(0, 0, 50)], 0),
        ([(0, 0, 60), (70, 20, 40)], 1),  # in the middle, 4/9 as large
        ([(0, 0, 60), (90, 40, 20)], 0),  # a small face in the middle is background
        ([(10, 20, 60), (120, 20, 60)], 1),  # 60 and 50 pixels from the middle
    ],
)
def test_the_face_near_the_middle_is_meant(boxes: list[tuple[float, float, float]], meant: int) -> None:
    faces = [face(*box) for box in boxes]
    assert meant_face(faces, 100, 200) is faces[meant]
