"""The third stage: follow the faces from frame to frame, and have them scored."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

from sdk.results import Face
from sdk.scorer import available_cores
from sdk.video.channel import Channel
from sdk.video.frames import Frame, FrameResult, TrackedFace
from sdk.video.meter import Meter
from sdk.video.stages.detection import Detected
from sdk.video.stages.scoring import Scoring
from sdk.video.tracking import Tracking

log = logging.getLogger(__name__)

Tracked: TypeAlias = tuple[FrameResult, "Future[tuple[TrackedFace, ...]] | None"]
"""A result without scores, and its faces once they are scored; None where no face is scored."""


class Following:
    """Follow the faces from frame to frame, one frame after the other, and have them scored.

    Args:
        detected: Gives the frames.
        tracked: Takes the results, with the scores to come.
        meter: Counts them.
        tracker: Follows the faces.
        scoring: Scores them, for several frames at once.
        name: The source, for the log.
    """

    def __init__(
        self,
        detected: Channel[Detected],
        tracked: Channel[Tracked],
        meter: Meter,
        tracker: Tracking,
        scoring: Scoring,
        name: str,
    ) -> None:
        self._detected, self._tracked, self._meter = detected, tracked, meter
        self._tracker, self._scoring, self._name = tracker, scoring, name
        self._size: tuple[int, ...] | None = None
        self.pool = ThreadPoolExecutor(available_cores(), thread_name_prefix="fiqa-score")

    def run(self) -> None:
        """Pass results on until there are no more frames."""
        for frame, faces in self._detected:
            try:
                item = self._track(frame, faces)
            except BaseException:
                self._meter.count_dropped(frame)
                if self._tracked.closed:
                    return
                raise
            self._meter.count_dropped(self._tracked.put(item))

    def _track(self, frame: Frame, detected: "Future[list[Face]] | None") -> Tracked:
        if self._size is not None and frame.image.shape != self._size:
            log.info("%s: frames are now %d x %d", self._name, frame.image.shape[1], frame.image.shape[0])
            self._tracker.reset()
        self._size = frame.image.shape
        found = self._follow(frame, detected)
        faces = tuple(TrackedFace(face.box, face.landmarks, face.confidence, track) for track, face in found)
        scored = self.pool.submit(self._scoring.score, frame.image, faces) if detected and faces else None
        ended = self._tracker.take_ended()
        result = FrameResult(frame.index, frame.timestamp, frame.arrived, frame.image, frame.state, faces, ended)
        return result, scored

    def _follow(self, frame: Frame, detected: "Future[list[Face]] | None") -> list[tuple[int, Face]]:
        if detected is not None:
            return self._tracker.update(detected.result(), frame.timestamp)
        # Nobody is seen in a blank frame; a track that stays unseen ends, also while a camera is frozen.
        blank = frame.state == "blank"
        return self._tracker.update([], frame.timestamp) if blank else self._tracker.predict(frame.timestamp)
