"""Part of the third stage: align and score the faces of a frame."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sdk.alignment import align
from sdk.errors import ScoreError
from sdk.results import Face
from sdk.video.frames import TrackedFace


class FaceScorer(Protocol):
    """Interface of a scorer of faces; `QualityScorer` is one. Several threads call it at once."""

    def score_batch(self, faces: Sequence[NDArray[np.uint8]], /) -> NDArray[np.float32]:
        """Score aligned crops, uint8 BGR (112, 112, 3)."""
        ...


class Scoring:
    """Align and score the faces of a frame; several threads may call it.

    Args:
        scorer: Scores aligned crops.
        min_size: Shorter side of the smallest box that is scored, pixels.
    """

    def __init__(self, scorer: FaceScorer, min_size: float) -> None:
        self._scorer, self._least = scorer, max(min_size, 1)

    def score(self, image: NDArray[np.uint8], faces: tuple[TrackedFace, ...]) -> tuple[TrackedFace, ...]:
        """Return the faces with their scores, and with the crops that were scored."""
        crops = {row: align(image, face.landmarks) for row, face in enumerate(faces) if _side(face) >= self._least}
        scores = self._scores(list(crops.values()))
        given = {row: score for row, score in zip(crops, scores, strict=True) if math.isfinite(score)}
        return tuple(replace(face, score=given.get(row), crop=crops.get(row)) for row, face in enumerate(faces))

    def _scores(self, crops: list[NDArray[np.uint8]]) -> list[float]:
        """Score crops; NaN or infinity where the model gives no number."""
        if not crops:
            return []
        try:
            return [float(score) for score in self._scorer.score_batch(crops)]
        except ScoreError as error:
            return [float(score) for score in error.scores]


def _side(face: Face) -> float:
    return min(face.box[2:])
