"""Part of the third stage: align and score the faces of a frame."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sdk.alignment import align
from sdk.errors import ScoreError
from sdk.results import Face, Reason
from sdk.video.frames import TrackedFace


class FaceScorer(Protocol):
    """Interface of a scorer of faces; `QualityScorer` is one. Several threads call it at once.

    One that has `decide`, too, gives faces their quality and accepts or rejects them; see `QualityScorer.decide`. One
    that has a `measurer` gives reasons.
    """

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
        self._decide: Callable[[float], tuple[int | None, bool | None]] = getattr(scorer, "decide", _undecided)

    def score(self, image: NDArray[np.uint8], faces: tuple[TrackedFace, ...]) -> tuple[TrackedFace, ...]:
        """Return the faces with their scores, and with the crops that were scored."""
        crops = {row: align(image, face.landmarks) for row, face in enumerate(faces) if _side(face) >= self._least}
        scores = self._scores(list(crops.values()))
        given = {row: score for row, score in zip(crops, scores, strict=True) if math.isfinite(score)}
        reasons = self._reasons(image, faces, crops)
        return tuple(
            self._judged(face, given.get(row), crops.get(row), reasons.get(row)) for row, face in enumerate(faces)
        )

    def _reasons(
        self, image: NDArray[np.uint8], faces: Sequence[TrackedFace], crops: Mapping[int, NDArray[np.uint8]]
    ) -> dict[int, tuple[Reason, ...]]:
        measurer = getattr(self._scorer, "measurer", None)
        if measurer is None or not crops:
            return {}
        measured = measurer.faces(image, [faces[row] for row in crops], list(crops.values()))
        return {row: measurer.reasons(measures) for row, measures in zip(crops, measured, strict=True)}

    def _judged(
        self,
        face: TrackedFace,
        score: float | None,
        crop: NDArray[np.uint8] | None,
        reasons: tuple[Reason, ...] | None,
    ) -> TrackedFace:
        quality, accepted = (None, None) if score is None else self._decide(score)
        return replace(face, score=score, crop=crop, quality=quality, accepted=accepted, reasons=reasons)

    def _scores(self, crops: list[NDArray[np.uint8]]) -> list[float]:
        """Score crops; NaN or infinity where the model gives no number."""
        if not crops:
            return []
        try:
            return [float(score) for score in self._scorer.score_batch(crops)]
        except ScoreError as error:
            return [float(score) for score in error.scores]


def _undecided(_: float) -> tuple[None, None]:
    return None, None


def _side(face: Face) -> float:
    return min(face.box[2:])
