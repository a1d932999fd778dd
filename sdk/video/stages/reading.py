"""The first stage: read the frames of a source."""

import logging
import math
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import ImageError, InputError
from sdk.images.decoding import load_image
from sdk.video.channel import Channel
from sdk.video.frames import Frame, Freshness
from sdk.video.meter import Meter
from sdk.video.reading.source import Source

log = logging.getLogger(__name__)

CORRUPT_LOGGED = 100
"""The first corrupt frame is logged, and then every hundredth."""


class Reading:
    """Read the frames of a source: leave out corrupt ones, and skip those above `max_fps`.

    Args:
        source: Gives the frames.
        frames: Takes them.
        meter: Counts them.
        max_fps: Most frames per second; None for all.
        ending: Set when the pipeline ends, so that a source without frames is no error.
    """

    def __init__(
        self, source: Source, frames: Channel[Frame], meter: Meter, max_fps: float | None, ending: threading.Event
    ) -> None:
        self._source, self._frames, self._meter, self._ending = source, frames, meter, ending
        self._pace = _Pace(max_fps)
        self._usable = self._corrupt = 0

    def run(self) -> None:
        """Read until the source ends.

        Raises:
            InputError: It ended without a frame that can be used.
        """
        freshness, first, last = Freshness(), 0.0, 0.0
        for timestamp, raw in self._source.frames():
            arrived = time.monotonic()
            index = self._meter.captured(arrived)
            image = _checked(raw)
            if image is None:
                self._leave_out(index)
                continue
            self._usable += 1
            first = first or arrived
            # A damaged file's clock may jump back; a track's may not.
            if timestamp is None or not math.isfinite(timestamp):
                timestamp = arrived - first
            last = max(last, timestamp)
            if self._pace.is_early(last):
                self._meter.count("skipped")
                continue
            frame = Frame(index, last, arrived, image, freshness.state(image))
            self._meter.count_dropped(self._frames.put(frame))
        if not self._usable and not self._ending.is_set():
            what = f"{self._corrupt} corrupt frames and no other" if self._corrupt else "no frame"
            raise InputError(
                f"{self._source.name} gave {what}, wanted uint8 BGR (H, W, 3); see that it is a video and whole"
            )

    def _leave_out(self, index: int) -> None:
        self._meter.count("corrupt")
        if self._corrupt % CORRUPT_LOGGED == 0:
            log.warning("%s: frame %d is corrupt and left out", self._source.name, index)
        self._corrupt += 1


class _Pace:
    """Tells which frames come too early for a rate."""

    def __init__(self, max_fps: float | None) -> None:
        self._step = None if max_fps is None else 1 / max_fps
        self._due: float | None = None

    def is_early(self, timestamp: float) -> bool:
        if self._step is None:
            return False
        due = timestamp if self._due is None else self._due
        if timestamp < due - 1e-3:
            return True
        # From the moment it was due, so that 30 frames a second become 20 and not 15; but no catching up.
        self._due = max(due, timestamp - self._step) + self._step
        return False


def _checked(raw: NDArray[Any] | None) -> NDArray[np.uint8] | None:
    try:
        return None if raw is None else load_image(raw)
    except ImageError:
        return None
