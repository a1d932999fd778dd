"""The work of the service: pictures in a bounded queue, and the threads that score those of all requests together."""

import math
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sdk.alignment import align, check_crop
from sdk.detection.face_detector import FaceDetector
from sdk.errors import FiqaError, ImageError, ModelError, ScoreError
from sdk.images.decoding import load_image
from sdk.measuring.measurer import Measurer
from sdk.results_io.scored_face import ScoredFace
from sdk.results_io.scoring import NO_FACE, NO_MEMORY, NO_NUMBER
from sdk.runtimes.dynamic_batching import WorkerPool
from sdk.scorer import QualityScorer, available_cores
from sdk.serving.problems import busy

TOGETHER = 8
"""Most pictures whose faces one thread scores together. It takes what waits, and waits for no more."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to score.

    Attributes:
        name: The client's name of it; empty where it has none.
        data: Its file.
        aligned: It is an aligned face of 112 x 112 itself.
        reasons: Say what is wrong with each face.
    """

    name: str
    data: bytes
    aligned: bool = False
    reasons: bool = False


Found: TypeAlias = "list[ScoredFace] | FiqaError"
"""The faces of a picture, largest first, or one without a face; or why the picture cannot be scored."""


class Work:
    """Score pictures on all cores.

    Args:
        scorer: Closed by its owner, after `close`.
        detector: Finds the faces.
        queue: Most pictures that wait or are being scored.
    """

    def __init__(self, scorer: QualityScorer, detector: FaceDetector, queue: int) -> None:
        self.scorer, self._detector, self._most = scorer, detector, queue
        self._inside, self._lock = 0, threading.Lock()
        threads = max(scorer.threads, available_cores())
        self._pool: WorkerPool[Picture, Found] = WorkerPool(
            self._score, threads, lambda: ModelError("the service is stopping"), most=TOGETHER
        )

    @property
    def inside(self) -> int:
        """Number of pictures that wait or are being scored."""
        return self._inside

    def submit(self, pictures: Sequence[Picture]) -> "list[Future[Found]]":
        """Queue pictures; return the future of each. One that is cancelled before its turn costs nothing.

        Raises:
            Problem: The queue is full.
        """
        with self._lock:
            if self._inside and self._inside + len(pictures) > self._most:
                raise busy(f"{self._inside} pictures wait already, wanted at most {self._most}; send it again later")
            self._inside += len(pictures)
        futures = [self._pool.submit(picture) for picture in pictures]
        for future in futures:
            future.add_done_callback(self._left)
        return futures

    def close(self) -> None:
        """End the threads."""
        self._pool.close()

    def _left(self, future: "Future[Found]") -> None:
        with self._lock:
            self._inside -= 1

    def _score(self, pictures: Sequence[Picture]) -> list[Found]:
        """Find the faces of each picture, score those of all together, and give them back by picture."""
        found = [self._find(picture) for picture in pictures]
        crops = [crop for _, ours in found for crop in ours]
        try:
            scores = self.scorer.score_batch(crops).tolist()
        except ScoreError as error:
            scores = error.scores.tolist()
        rest = iter(scores)
        return [
            faces
            if isinstance(faces, FiqaError)
            else [self._scored(face, next(rest)) for face in faces] or [_none(picture)]
            for picture, (faces, _) in zip(pictures, found, strict=True)
        ]

    def _find(self, picture: Picture) -> tuple[Found, list[NDArray[np.uint8]]]:
        scorer = self.scorer
        try:
            pixels = load_image(picture.data, max_pixels=scorer.max_pixels, max_bytes=scorer.max_bytes)
            if picture.aligned:
                crops, rows = [check_crop(pixels, "the picture")], [ScoredFace(Path(picture.name), 0)]
                measured = [_measurer().crop(crops[0])] if picture.reasons else []
            else:
                faces = self._detector.detect(pixels)
                crops = [align(pixels, face.landmarks) for face in faces]
                rows = [
                    ScoredFace(Path(picture.name), index, None, face.box, face.confidence, face.landmarks)
                    for index, face in enumerate(faces)
                ]
                measured = _measurer().faces(pixels, faces, crops) if picture.reasons else []
            for index, measures in enumerate(measured):
                reasons = _measurer().reasons(measures)
                rows[index] = replace(rows[index], measures=measures, reasons=reasons)
            return list(rows), crops
        except ImageError as error:
            return error, []
        except MemoryError:
            return ImageError(NO_MEMORY), []

    def _scored(self, face: ScoredFace, score: float) -> ScoredFace:
        if not math.isfinite(score):
            return replace(face, error=NO_NUMBER)
        quality, accepted = self.scorer.decide(score)
        return replace(face, score=score, quality=quality, accepted=accepted)


@cache
def _measurer() -> Measurer:
    """Return what finds the reasons; made when a request asks for them first."""
    return Measurer()


def _none(picture: Picture) -> ScoredFace:
    return ScoredFace(Path(picture.name), error=NO_FACE)
