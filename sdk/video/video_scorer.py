"""VideoScorer: frames in, tracked and scored faces out. `sdk.video.pipeline` does the work."""

import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from types import TracebackType

from sdk.detection.face_detector import FaceDetector
from sdk.errors import InputError
from sdk.scorer import QualityScorer, available_cores
from sdk.video.best_shot import BestShots
from sdk.video.frames import FrameResult
from sdk.video.meter import Counters
from sdk.video.pipeline import Pipeline
from sdk.video.reading.sources import VideoSource, open_source
from sdk.video.settings import Settings
from sdk.video.stages.detection import Detector
from sdk.video.stages.scoring import FaceScorer
from sdk.video.tracking import Tracker, Tracking

DETECTION_SIDE = 640
"""Longest side to which a frame is scaled for the default detectors, pixels."""

COARSE_SIDE = 256
"""Longest side of their other pass, which finds faces that fill the frame."""

LOW_CONFIDENCE = 0.4
"""Least confidence of the default detectors: such faces may continue a track, but not begin one."""

MAX_DETECTORS = 4
"""Most default detectors."""


class VideoScorer:
    """Find, follow and score the faces of a stream. Iterate over it; use it as a context manager.

    Args:
        source: Index of a camera, path of a video or of a folder of frames, URL, GStreamer pipeline, Jetson preset, or
            any iterable of uint8 BGR frames; see `sdk.video.reading.sources.open_source`.
        scorer: Scores the faces, of several frames at once; stays open. None for `QualityScorer()`, closed with this.
        detector: Finds the faces. Of several, each looks at a frame of its own, in a thread of its own. None for
            `default_detectors()`.
        best_shots: Gets every result, and is flushed at the end, also at Ctrl-C.
        every: Faces are looked for and scored in every n-th frame, and followed in the frames between. Choose it so
            that faces are looked for more often than once a second: a track ends when it is not seen for a second.
        max_fps: Frames above this rate are skipped, by their timestamps.
        min_size: Faces are scored when the shorter side of the box has this many pixels. Smaller ones are followed.
        queue: Most frames that wait between two stages.
        live: Whether an iterable or a URL is live; None for the default of its kind. See `open_source`.
        tracker: Follows the faces; None for `Tracker()`.

    Raises:
        InputError: The source is not there or gives nothing, or a number is out of its range.
        ModelError: A model cannot be fetched or loaded.

    Examples:
        >>> import numpy as np
        >>> from sdk import VideoScorer
        >>> class Nobody:
        ...     def detect(self, image):
        ...         return []
        >>> frames = np.random.default_rng(0).integers(0, 256, (3, 120, 160, 3), np.uint8)
        >>> with VideoScorer(frames, detector=Nobody()) as video:
        ...     print([(frame.index, frame.state, frame.faces) for frame in video])
        [(0, 'new', ()), (1, 'new', ()), (2, 'new', ())]
    """

    def __init__(
        self,
        source: VideoSource,
        scorer: FaceScorer | None = None,
        detector: Detector | Sequence[Detector] | None = None,
        *,
        best_shots: BestShots | None = None,
        every: int = 1,
        max_fps: float | None = None,
        min_size: float = 0,
        queue: int = 2,
        live: bool | None = None,
        tracker: Tracking | None = None,
    ) -> None:
        settings = Settings(every, max_fps, min_size, queue)
        detectors = _detectors(detector)
        self._best_shots = best_shots
        self._own_scorer = None if scorer is not None else QualityScorer()
        try:
            opened = open_source(source, live)  # last: what a live one gives meanwhile grows old
        except BaseException:
            if self._own_scorer is not None:
                self._own_scorer.close()
            raise
        used: FaceScorer = scorer if scorer is not None else self._own_scorer  # type: ignore[assignment]
        self._pipeline = Pipeline(opened, used, detectors, Tracker() if tracker is None else tracker, settings)
        self._shots_lock = threading.RLock()  # a callback of `best_shots` may close
        weakref.finalize(self, self._pipeline.abandon).atexit = False

    @property
    def name(self) -> str:
        """Name of the source, without its secrets."""
        return self._pipeline.source.name

    @property
    def live(self) -> bool:
        """True for a live source, which drops frames that come too fast."""
        return self._pipeline.source.live

    @property
    def fps(self) -> float:
        """Frames per second of the source; 25 where it does not say."""
        return self._pipeline.source.fps

    @property
    def counters(self) -> Counters:
        """Counts of frames that were captured, dropped and scored until now, and rates; any thread may read them."""
        self._check_process()
        return self._pipeline.meter.read(self._pipeline.source.reconnects)

    def __repr__(self) -> str:
        kind = "live" if self.live else "not live"
        state = "closed" if self._pipeline.closed else "open"
        return f"VideoScorer({self.name!r}, {kind}, {self.fps:g} frames/s, {state})"

    def __iter__(self) -> Iterator[FrameResult]:
        return self

    def __next__(self) -> FrameResult:
        """Return the next result, in order; closes at the end, and on any error.

        Raises:
            InputError: The source ended without a frame that can be used; or this was made by another process.
            Exception: What the source, the detector, the scorer or the callback raised.
        """
        self._check_process()
        try:
            result = self._pipeline.take()
            with self._shots_lock:
                if self._pipeline.closed:  # by another thread, which has flushed the tracks
                    self._pipeline.meter.count_dropped(result)
                    raise StopIteration
                self._pipeline.meter.delivered(result)
                if self._best_shots is not None:
                    self._best_shots.update(result)
            return result
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """End the source: frames on their way still come, then the iteration ends. Any thread may call it."""
        if self._pipeline.process == os.getpid():
            self._pipeline.stop()

    def close(self) -> None:
        """Stop at once: frames on their way are dropped, and `best_shots` is flushed. Closing twice is harmless.

        Any thread may call it. It waits for a frame that is just being read or scored, at most 1.5 s. In a forked
        child, which has none of the threads, it does nothing.
        """
        if self._pipeline.process != os.getpid() or not self._pipeline.close():
            return
        if self._own_scorer is not None:
            self._own_scorer.close()
        if self._best_shots is not None:
            with self._shots_lock:
                self._best_shots.flush()

    def _check_process(self) -> None:
        if self._pipeline.process != os.getpid():
            raise InputError(
                f"this VideoScorer was made by process {self._pipeline.process}, and its threads stayed there; "
                f"make one in this process, {os.getpid()}"
            )

    def __enter__(self) -> "VideoScorer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def default_detectors(side: int = DETECTION_SIDE, model: str = "fiqa-detector") -> list[FaceDetector]:
    """Make detectors that look at a frame at two sizes: one per core, at most four.

    The pass at `COARSE_SIDE` costs a quarter of the other one, and finds faces of more than a third of the frame.

    Args:
        side: Longest side to which a frame is scaled for the finer pass, pixels. Up to `COARSE_SIDE` there is no other.
        model: See `FaceDetector`.
    """
    count = min(available_cores(), MAX_DETECTORS)
    passes = (COARSE_SIDE, side) if side > COARSE_SIDE else (side,)
    return [FaceDetector(model=model, min_confidence=LOW_CONFIDENCE, passes=passes) for _ in range(count)]


def _detectors(given: Detector | Sequence[Detector] | None) -> Sequence[Detector]:
    if given is None:
        return default_detectors()
    detectors = given if isinstance(given, Sequence) else [given]
    if not detectors:
        raise InputError("detector is an empty sequence, wanted at least one")
    return detectors
