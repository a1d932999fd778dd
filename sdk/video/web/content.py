"""Hold what the page shows: the newest frame, the counters, best shots, scores over time."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.video.best_shot import TrackShots
from sdk.video.frames import FrameResult, TrackedFace
from sdk.video.meter import Counters
from sdk.video.overlay import Overlay

PICTURE_WIDTH = 1280
"""Widest live picture, pixels."""

SHOTS, POINTS = 24, 600
"""Best shots and scores that the page remembers."""

UNHEALTHY = 10.0
"""A stream is unhealthy when its source has given nothing for so many seconds."""


@dataclass(frozen=True, slots=True)
class About:
    """What a page is about.

    Attributes:
        name: Name of the source.
        model: Name of the model.
        score_range: Scores of the worst and of the best faces; see `ModelCard`.
        threshold: Score from which on faces are accepted; None where there is none.
    """

    name: str
    model: str = ""
    score_range: tuple[float, float] = (0.0, 1.0)
    threshold: float | None = None


class Content:
    """Hold what the page shows. One thread fills it, another reads it.

    Args:
        about: What the page is about.
        counters: Returns the counters of the stream.
    """

    def __init__(self, about: About, counters: Callable[[], Counters]) -> None:
        self._about, self._counters, self._overlay = about, counters, Overlay(about.score_range)
        self._lock = threading.Lock()
        self._result: FrameResult | None = None
        self._encoded: tuple[int, bytes] = (-1, b"")
        self._shots: deque[tuple[dict[str, Any], bytes]] = deque(maxlen=SHOTS)
        self._made = 0
        self._points: deque[tuple[float, int, float]] = deque(maxlen=POINTS)
        self._started = time.monotonic()

    def add_result(self, result: FrameResult) -> None:
        """Take in a frame."""
        with self._lock:
            self._overlay.note(result)
            self._result = result
            self._points.extend(
                (round(result.timestamp, 3), face.track, round(face.score, 4))
                for face in result.faces
                if face.score is not None
            )

    def add_shots(self, found: TrackShots) -> None:
        """Take in the best shot of a track."""
        if not found.shots:
            return
        best = found.shots[0]
        data = cv2.imencode(".jpg", best.picture)[1].tobytes()
        with self._lock:
            self._made += 1
            about = {"id": self._made, "final": found.final, **_verdict(best.face)}
            self._shots.append((about, data))

    def state(self) -> dict[str, Any]:
        """Return all that the page shows, but for pictures."""
        counters = asdict(self._counters())
        with self._lock:
            faces = [] if self._result is None else self._result.faces
            judged = filter(None, (self._overlay.judged(face.track) for face in faces))
            return {
                **asdict(self._about),
                "healthy": self.is_healthy(),
                "counters": counters,
                "faces": [_verdict(face) for face in judged],
                "shots": [about for about, _ in self._shots],
                "scores": list(self._points),
            }

    def is_healthy(self) -> bool:
        """Return whether the source gave a frame lately."""
        age = self._counters().age
        return (time.monotonic() - self._started if age is None else age) < UNHEALTHY

    def shot(self, number: int) -> bytes | None:
        """Return a best shot as JPEG; None when it is gone."""
        with self._lock:
            return next((data for about, data in self._shots if about["id"] == number), None)

    def picture(self, after: int) -> tuple[int, bytes] | None:
        """Return the newest frame, its index and its JPEG; None where none is newer than index `after`.

        Only one thread may call it.
        """
        with self._lock:
            result = self._result
            if result is None or result.index <= after:
                return None
            drawn = None if self._encoded[0] == result.index else self._overlay.draw(result, self._counters())
        if drawn is not None:
            self._encoded = (result.index, _jpeg(drawn))
        return self._encoded


def _verdict(face: TrackedFace) -> dict[str, Any]:
    score = None if face.score is None else round(face.score, 4)
    reasons = None if face.reasons is None else [{"code": one.code, "text": one.text} for one in face.reasons]
    judged = {"quality": face.quality, "accepted": face.accepted, "reasons": reasons}
    return {"track": face.track, "score": score, **judged}


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    if image.shape[1] > PICTURE_WIDTH:
        size = PICTURE_WIDTH, max(1, round(image.shape[0] * PICTURE_WIDTH / image.shape[1]))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 80))[1].tobytes()
