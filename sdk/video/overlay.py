"""Draw results into their frame."""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.video.frames import FrameResult, TrackedFace
from sdk.video.meter import Counters

FONT = cv2.FONT_HERSHEY_SIMPLEX
WHITE = (255, 255, 255)
UNSCORED = (160, 160, 160)
ACCEPTED, REJECTED = (40, 150, 30), (40, 40, 200)


class Overlay:
    """Draw boxes, track numbers, scores, and counters. Remembers how each track was judged last.

    A box is green where the face is accepted and red where it is rejected; without a threshold, its colour goes with
    the score.

    Args:
        score_range: Scores of full red and of full green.
    """

    def __init__(self, score_range: tuple[float, float] = (0.0, 1.0)) -> None:
        self._low, self._high = score_range
        self._judged: dict[int, TrackedFace] = {}

    def note(self, result: FrameResult) -> None:
        """Take in the scores of a frame, drawn or not."""
        for track in result.ended:
            self._judged.pop(track, None)
        self._judged |= {face.track: replace(face, crop=None) for face in result.faces if face.score is not None}

    def judged(self, track: int) -> TrackedFace | None:
        """Return the face of a track as it was scored last; None where none was."""
        return self._judged.get(track)

    def draw(self, result: FrameResult, counters: Counters) -> NDArray[np.uint8]:
        """Return a copy of the frame with boxes, scores and counters: uint8 BGR (H, W, 3)."""
        image = result.image.copy()
        size = max(image.shape[0] / 900, 0.4)
        thick = max(1, round(2 * size))
        for face in result.faces:
            judged = self._judged.get(face.track)
            colour = self._colour(judged)
            x, y, width, height = map(round, face.box)
            cv2.rectangle(image, (x, y), (x + width, y + height), colour, thick)
            for point in face.landmarks:
                cv2.circle(image, (round(float(point[0])), round(float(point[1]))), thick, colour, -1)
            label = f"track {face.track}" if judged is None else _verdict(judged)
            _label(image, label, (x, max(y, round(26 * size))), size, colour)
        state = "" if result.state in ("new", "between") else f"   {result.state.upper()}"
        line = (
            f"in {counters.fps_in:.0f}/s  scored {counters.fps_scored:.0f}/s  dropped {counters.dropped}  "
            f"{counters.latency_p50 * 1000:.0f} ms{state}"
        )
        _label(image, line, (0, image.shape[0]), size, (40, 40, 40))
        return image

    def _colour(self, judged: TrackedFace | None) -> tuple[int, int, int]:
        if judged is None or judged.score is None:
            return UNSCORED
        if judged.accepted is not None:
            return ACCEPTED if judged.accepted else REJECTED
        share = min(max((judged.score - self._low) / (self._high - self._low), 0.0), 1.0)
        return 40, round(60 + 150 * share), round(220 * (1 - share))


def _verdict(face: TrackedFace) -> str:
    """Return track, quality (the score where there is none), and what is wrong while the face is rejected."""
    value = f"{face.score:.2f}" if face.quality is None else f"quality {face.quality}"
    wrong = face.reasons[0].code.replace("_", " ") if face.reasons else "rejected"  # OpenCV draws ASCII only
    return f"track {face.track}  {value}{f'  {wrong}' if face.accepted is False else ''}"


def _label(
    image: NDArray[np.uint8], text: str, corner: tuple[int, int], size: float, colour: tuple[int, int, int]
) -> None:
    """Draw white text on a plate; `corner` is the lower left one of the plate."""
    thick = max(1, round(1.5 * size))
    (width, height), base = cv2.getTextSize(text, FONT, 0.7 * size, thick)
    x, y = corner
    cv2.rectangle(image, (x, y - height - base - 4), (x + width + 6, y), colour, -1)
    cv2.putText(image, text, (x + 3, y - base), FONT, 0.7 * size, WHITE, thick, cv2.LINE_AA)
