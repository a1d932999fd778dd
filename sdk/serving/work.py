"""The work of the service: pictures in a bounded queue, and the threads that score those of all requests together."""

import math
import threading
import time
from collections.abc import Iterator, Sequence
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

TAKING_SECONDS = 0.05
"""Time after which a thread takes no further picture before it scores: large ones are left to other threads."""

FACES = 64
"""Most faces that are scored before a thread looks again whether somebody still waits for them."""

END_SECONDS = 5.0
"""Time that threads get to end. Nobody waits for what they still do."""


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


Faces: TypeAlias = "tuple[Found, list[NDArray[np.uint8]]]"
"""What a picture has, still without scores, and its aligned faces."""


@dataclass(slots=True, eq=False)
class _Job:
    """A picture that waits or is being scored; without it once nobody waits for the answer."""

    picture: Picture | None


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
        self._pool: WorkerPool[_Job, Found] = WorkerPool(
            self._score, threads, lambda: ModelError("the service is stopping"), most=TOGETHER
        )

    @property
    def inside(self) -> int:
        """Number of pictures that wait or are being scored."""
        return self._inside

    def submit(self, pictures: Sequence[Picture]) -> "Future[list[Found]]":
        """Queue the pictures of a request; return the future of what they have.

        When it is cancelled, the pictures that wait leave the queue, and a thread that is at one of them leaves it
        before its next step: decoding, detection, scoring.

        Raises:
            Problem: The queue is full.
            ModelError: The service is stopping.
        """
        with self._lock:
            if self._inside and self._inside + len(pictures) > self._most:
                raise busy(f"{self._inside} pictures wait already, wanted at most {self._most}; send it again later")
            self._inside += len(pictures)
        request = _Request(pictures)
        try:
            for job in request.jobs:
                request.futures.append(self._pool.submit(job))
        except BaseException:
            request.abandon()
            self._leave(len(pictures) - len(request.futures))
            raise
        finally:
            for future in list(request.futures):
                future.add_done_callback(lambda _: self._leave(1))
        return request.answer()

    def close(self) -> bool:
        """End the threads; return whether they have ended in time. Native code may hold one."""
        self._pool.close()
        return self._pool.join(END_SECONDS)

    def _leave(self, pictures: int) -> None:
        with self._lock:
            self._inside -= pictures

    def _score(self, jobs: Iterator[_Job]) -> list[Found]:
        """Find the faces of each picture, score those of all together, and give them back by picture."""
        until = time.monotonic() + TAKING_SECONDS
        taken: list[_Job] = []
        found: list[Faces] = []
        for job in jobs:
            taken.append(job)
            found.append(self._find(job))
            if time.monotonic() >= until:
                break
        found = [([], []) if job.picture is None else one for job, one in zip(taken, found, strict=True)]
        crops = [crop for _, ours in found for crop in ours]
        scores: list[float] = []
        for start in range(0, len(crops), FACES):
            if all(job.picture is None for job in taken):
                return [[] for _ in taken]
            scores += self._scores(crops[start : start + FACES])
        rest = iter(scores)
        return [
            faces if isinstance(faces, FiqaError) or not ours else [self._scored(face, next(rest)) for face in faces]
            for faces, ours in found
        ]

    def _scores(self, crops: Sequence[NDArray[np.uint8]]) -> list[float]:
        try:
            return list(self.scorer.score_batch(crops).tolist())
        except ScoreError as error:
            return list(error.scores.tolist())

    def _find(self, job: _Job) -> Faces:
        scorer, picture = self.scorer, job.picture
        try:
            if picture is None:
                return [], []
            pixels = load_image(picture.data, max_pixels=scorer.max_pixels, max_bytes=scorer.max_bytes)
            if job.picture is None:
                return [], []
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
            return list(rows) or [_none(picture)], crops
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


class _Request:
    """The pictures of a request: their jobs, and one answer of all."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.jobs = [_Job(picture) for picture in pictures]
        self.futures: list[Future[Found]] = []
        self._left, self._lock = len(pictures), threading.Lock()
        self._answer: Future[list[Found]] = Future()

    def answer(self) -> "Future[list[Found]]":
        """Return the future of the answer; when it is cancelled, the pictures are abandoned."""
        self._answer.add_done_callback(lambda answer: self.abandon() if answer.cancelled() else None)
        for future in self.futures:
            future.add_done_callback(self._count)
        return self._answer

    def abandon(self) -> None:
        """Take the pictures out of the queue, and their data out of memory."""
        for job in self.jobs:
            job.picture = None
        for future in self.futures:
            future.cancel()

    def _count(self, _: "Future[Found]") -> None:
        with self._lock:
            self._left -= 1
            if self._left:
                return
        if not self._answer.set_running_or_notify_cancel():
            return
        try:
            self._answer.set_result([future.result() for future in self.futures])
        except BaseException as error:  # noqa: BLE001  # raised again by the future
            self._answer.set_exception(error)
