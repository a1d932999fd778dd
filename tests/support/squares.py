"""Stand-ins for faces, detector and scorer: red squares, found by their colour, scored by their blue.

So tests of the pipeline know what is in a frame, and need no model. Colours survive JPEG and MPEG-4.
"""

import threading
import time
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.alignment import TEMPLATE
from sdk.decision.measures import make_measure
from sdk.decision.reasons import find_reasons
from sdk.results import Face, Measure, Reason

Picture = NDArray[np.uint8]
_background = np.random.default_rng(0)


def frame(*squares: tuple[float, float, float, float], size: tuple[int, int] = (320, 180)) -> Picture:
    """Return a grey frame of noise, different from all others, with squares: x, y, side, score in [0, 1]."""
    grey = _background.integers(90, 150, (size[1] // 4, size[0] // 4, 1), np.uint8)
    image = cv2.resize(np.repeat(grey, 3, 2), size, interpolation=cv2.INTER_NEAREST)
    for x, y, side, score in squares:
        cv2.rectangle(image, (round(x), round(y)), (round(x + side), round(y + side)), (round(200 * score), 0, 255), -1)
    return np.asarray(image, np.uint8)


def walk(count: int, start: float = 10, step: float = 4, side: float = 40, score: float = 0.5) -> list[Picture]:
    """Return frames in which one square walks from left to right."""
    return [frame((start + step * index, 60, side, score)) for index in range(count)]


class SquareDetector:
    """Finds red squares; counts its calls, and how many threads called at once."""

    def __init__(self, delay: float = 0, confidence: float = 0.9) -> None:
        self.delay, self.confidence = delay, confidence
        self.calls = self.busy = self.most_busy = 0
        self._lock = threading.Lock()

    def detect(self, image: Picture) -> list[Face]:
        """Find squares, largest first."""
        with self._lock:
            self.calls += 1
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
        time.sleep(self.delay)
        red = ((image[..., 2] > 180) & (image[..., 1] < 80)).astype(np.uint8)
        boxes = [row[:4] for row in cv2.connectedComponentsWithStats(red)[2][1:] if row[4] > 60]
        faces = [
            Face(
                (float(x), float(y), float(w), float(h)),
                (TEMPLATE / 112 * (w, h) + (x, y)).astype(np.float32),
                self.confidence,
            )
            for x, y, w, h in boxes
        ]
        with self._lock:
            self.busy -= 1
        return sorted(faces, key=lambda face: -face.box[2])


class BlueMeasurer:
    """Finds a crop the darker the less blue there is: 2 stops without any, where 1.2 are the limit."""

    def faces(
        self, image: Picture, faces: Sequence[Face], crops: Sequence[Picture]
    ) -> list[dict[str, Measure]]:  # as `sdk.measuring.measurer.Measurer` does
        """Measure crops."""
        assert len(faces) == len(crops)
        return [{"darkness": make_measure("darkness", 2 * (1 - _blue(crop)))} for crop in crops]

    def reasons(self, measures: dict[str, Measure]) -> tuple[Reason, ...]:
        """Give the reasons."""
        return find_reasons(measures)


class BlueScorer:
    """Scores a crop by the blue in its middle, as a share of 200; may accept crops, and give reasons."""

    def __init__(self, delay: float = 0, accept: float | None = None, reasons: bool = False) -> None:
        self.delay = delay
        self.threshold = accept
        self.measurer = BlueMeasurer() if reasons else None
        self.sizes: list[int] = []

    def score_batch(self, faces: Sequence[Picture]) -> NDArray[np.float32]:
        """Score crops."""
        time.sleep(self.delay)
        self.sizes.append(len(faces))
        return np.array([_blue(face) for face in faces], np.float32)

    def decide(self, score: float) -> tuple[int | None, bool | None]:
        """Give the score in percent as quality, and accept it from the threshold on."""
        return (None, None) if self.threshold is None else (round(100 * score), score >= self.threshold)


def _blue(crop: Picture) -> float:
    return float(crop[40:72, 40:72, 0].mean() / 200)
