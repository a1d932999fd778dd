"""The second stage: look for faces."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sdk.results import Face
from sdk.video.channel import Channel
from sdk.video.frames import Frame
from sdk.video.meter import Meter

Detected: TypeAlias = tuple[Frame, "Future[list[Face]] | None"]
"""A frame, and the faces that will have been found in it; None where nobody looks for faces."""


class Detector(Protocol):
    """Interface of a detector; `FaceDetector` is one."""

    def detect(self, image: NDArray[np.uint8], /) -> list[Face]:
        """Find the faces of an image, uint8 BGR (H, W, 3), largest first."""
        ...


class Detection:
    """Look for faces in several frames at once, one detector a thread.

    Args:
        frames: Gives the frames.
        detected: Takes them, with the faces to come.
        meter: Counts them.
        detectors: Find the faces; each is used by one thread at a time.
        every: Faces are looked for in every n-th new frame.
    """

    def __init__(
        self,
        frames: Channel[Frame],
        detected: Channel[Detected],
        meter: Meter,
        detectors: Sequence[Detector],
        every: int,
    ) -> None:
        self._frames, self._detected, self._meter, self._every = frames, detected, meter, every
        self._idle: SimpleQueue[Detector] = SimpleQueue()
        for one in detectors:
            self._idle.put(one)
        self.pool = ThreadPoolExecutor(len(detectors), thread_name_prefix="fiqa-detect")

    def run(self) -> None:
        """Pass frames on until there are no more."""
        new = 0
        for frame in self._frames:
            faces = None
            if frame.state == "new":
                if new % self._every == 0:
                    try:
                        faces = self.pool.submit(self._detect, frame.image)
                    except RuntimeError:  # the pool is shut down: the pipeline is closed
                        self._meter.count_dropped(frame)
                        return
                else:
                    frame = replace(frame, state="between")
                new += 1
            self._meter.count_dropped(self._detected.put((frame, faces)))

    def _detect(self, image: NDArray[np.uint8]) -> list[Face]:
        detector = self._idle.get()  # never waits: there are as many threads as detectors
        try:
            return [face for face in detector.detect(image) if _is_real(face)]
        finally:
            self._idle.put(detector)


def _is_real(face: Face) -> bool:
    """Check that box and landmarks are numbers, and not all in one point: a damaged detector may give anything."""
    points = np.asarray(face.landmarks)
    return bool(np.isfinite(face.box).all() and np.isfinite(points).all() and np.ptp(points, axis=0).max() > 0)
