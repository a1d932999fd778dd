"""Faces print themselves on one line, without their pixels."""

import numpy as np

from sdk import Face, FaceQuality

POINTS = np.array([(201.4, 100), (233, 101), (217, 120), (203, 140), (231, 141)], np.float32)


def test_a_face_is_printed_in_whole_pixels() -> None:
    face = Face((179.2, 63.6, 90, 110), POINTS, 0.98765)
    shown = "Face(box=(179, 64, 90, 110), landmarks=((201, 100), (233, 101), (217, 120), (203, 140), (231, 141)), "
    assert repr(face) == shown + "confidence=0.988)"


def test_a_scored_face_is_printed_without_its_crop() -> None:
    face = FaceQuality((0, 0, 9, 9), POINTS, 0.5, np.float32(0.25), np.zeros((112, 112, 3), np.uint8))
    assert repr(face).startswith("FaceQuality(box=(0, 0, 9, 9), landmarks=((201, 100),")
    assert repr(face).endswith(", confidence=0.500, score=0.250)")
    assert len(repr(face)) < 200


def test_a_face_without_a_score_is_printed() -> None:
    face = FaceQuality((0, 0, 9, 9), np.full((5, 2), np.nan, np.float32), 0.5, float("nan"), np.zeros(0, np.uint8))
    assert repr(face).endswith("score=nan)")
