"""Frames, tracked faces and results; and whether a frame shows anything new."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sdk.results import Face, Reason

FrameState: TypeAlias = Literal["new", "between", "stale", "blank"]
"""State of a frame:

- `new`: faces are looked for and scored.
- `between`: faces are only followed, because of `every`.
- `stale`: the same picture as the frame before.
- `blank`: black, or of one colour.

Only faces of a new frame have scores."""

GRID = 8
"""Every 8th pixel of every 8th row is compared with the frame before: 32,000 of a full-HD frame, in under 1 ms."""

BLANK_SPREAD = 12
"""A frame is blank when 98 % of its pixels lie within so many grey levels: black with noise, or one colour."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A frame of a source.

    Attributes:
        index: Number of the frame in the source, from 0. Frames that are dropped, skipped or corrupt count, too.
        timestamp: Seconds since the first frame: as a file says, or as a live source delivers.
        arrived: `time.monotonic()` when the frame was read.
        image: uint8 BGR (H, W, 3).
        state: See `FrameState`.
    """

    index: int
    timestamp: float
    arrived: float = field(repr=False)
    image: NDArray[np.uint8] = field(repr=False)
    state: FrameState


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFace(Face):
    """A face of a track.

    Attributes:
        track: Number of the track, from 1. A person who stays in sight keeps it.
        score: Quality; higher is better. None where the face is not scored: in a frame that is not `new`, where box and
            landmarks are predicted; where the face is smaller than `min_size`; where the model gave no number.
        crop: uint8 BGR (112, 112, 3): the aligned face that the scorer got; None where it got none.
        quality: 0 to 100; None without a score, and where the scorer has no calibration, or one without a curve.
        accepted: Whether the score reaches the scorer's threshold; None without a score, and where it has none.
        reasons: What is wrong with the picture, the worst first; None where they were not asked for.
    """

    track: int
    score: float | None = None
    crop: NDArray[np.uint8] | None = field(default=None, repr=False)
    quality: int | None = None
    accepted: bool | None = None
    reasons: tuple[Reason, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult(Frame):
    """A frame and its faces.

    Attributes:
        faces: The faces, largest first.
        ended: Numbers of the tracks that ended before this frame: their faces were not seen for a while, or the frames
            changed their size.
    """

    faces: tuple[TrackedFace, ...] = ()
    ended: tuple[int, ...] = ()


class Freshness:
    """Tells stale and blank frames from new ones."""

    def __init__(self) -> None:
        self._last: NDArray[np.uint8] | None = None

    def state(self, image: NDArray[np.uint8]) -> FrameState:
        """Return the state of the next frame.

        Args:
            image: uint8 (H, W, 3).
        """
        sample = image[::GRID, ::GRID]
        last, self._last = self._last, sample.copy()  # not the frame itself, which would be kept
        low, high = np.percentile(sample[..., 1], (1, 99))
        if high - low < BLANK_SPREAD:
            return "blank"
        return "stale" if last is not None and np.array_equal(last, sample) else "new"
