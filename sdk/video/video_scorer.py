"""VideoScorer: frames in, tracked and scored faces out; `sdk.video.pipeline` is how."""

import math
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
from sdk.video.pipeline import Detector, FaceScorer, Pipeline
from sdk.video.reading.sources import Source, VideoSource, open_source
from sdk.video.tracking import Tracker, Tracking

DETECTION_SIDE = 640
"""Longest side at which the default detectors see a frame, pixels: one pass, for a stream has no time for more."""

LOW_CONFIDENCE = 0.4
"""The default detector also gives faces that may continue a track, but not begin one."""

MAX_DETECTORS = 4
"""Most frames in which the default detectors look at once."""


class VideoScorer:
    """Finds, follows and scores the faces of a stream. Iterate over it; use it as a context manager.

    Args:
        source: Index of a camera, path of a video or of a folder of frames, URL, GStreamer pipeline, Jetson preset, or
            any iterable of uint8 BGR frames; see `sdk.video.reading.sources.open_source`.
        scorer: Scores the faces, of several frames at once; stays open. None for `QualityScorer()`, closed with this.
        detector: Finds the faces. Several, and as many frames are looked at at once, each by one thread. None for
            `default_detectors()`.
        best_shots: Told of every frame, and flushed at the end, also at Ctrl-C.
        every: Faces are looked for and scored in every n-th frame; between, they are followed. So often that it is more
            than once in the second for which a track lives unseen.
        max_fps: Frames above this rate are skipped, by their timestamps.
        min_size: Faces with a shorter side of the box, pixels, are followed but not scored.
        queue: Most items in each queue.
        live: Whether an iterable or a URL is live; None for its kind. See `open_source`.
        tracker: Follows the faces; None for `Tracker()`.

    Raises:
        InputError: The source is not there or gives nothing, or a number is out of its range.
        ModelError: A model cannot be had.

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
        for name, value in (("every", every), ("queue", queue)):
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name} is {value}, wanted a whole number of at least 1")
        if max_fps is not None and not max_fps > 0:
            raise InputError(f"max_fps is {max_fps}, wanted more than 0 frames per second, or None for all")
        if not 0 <= min_size < math.inf:
            raise InputError(f"min_size is {min_size}, wanted 0 pixels or more")
        detectors = _detectors(detector)
        self._best_shots = best_shots
        self._own_scorer = QualityScorer() if scorer is None else None
        try:
            opened: Source = open_source(source, live)  # last: what a live one gives meanwhile grows old
        except BaseException:
            if self._own_scorer is not None:
                self._own_scorer.close()
            raise
        self._pipeline = Pipeline(
            opened,
            scorer if scorer is not None else self._own_scorer,  # type: ignore[arg-type]
            detectors,
            Tracker() if tracker is None else tracker,
            every=every,
            max_fps=max_fps,
            min_size=min_size,
            queue=queue,
        )
        self._turn = threading.RLock()  # of `best_shots`: a callback may close
        weakref.finalize(self, self._pipeline.abandon).atexit = False

    @property
    def name(self) -> str:
        """The source, without its secrets."""
        return self._pipeline.source.name

    @property
    def live(self) -> bool:
        """Whether the source is live."""
        return self._pipeline.source.live

    @property
    def fps(self) -> float:
        """Frames per second of the source, as far as it says."""
        return self._pipeline.source.fps

    @property
    def counters(self) -> Counters:
        """What was captured, dropped, scored until now, and how fast; may be read from any thread."""
        self._check_process()
        return self._pipeline.meter.read(self._pipeline.source.reconnects)

    def __iter__(self) -> Iterator[FrameResult]:
        return self

    def __next__(self) -> FrameResult:
        """The next result, in order; closes at the end, and on any error.

        Raises:
            InputError: The source ended without a frame that can be used; or this was made by another process.
            Exception: What the source, the detector, the scorer or the callback raised.
        """
        self._check_process()
        try:
            result = self._pipeline.take()
            with self._turn:
                if self._pipeline.closed:  # by another thread, which has flushed the tracks
                    self._pipeline.meter.count("dropped")
                    raise StopIteration
                self._pipeline.meter.delivered(result)
                if self._best_shots is not None:
                    self._best_shots.update(result)
            return result
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """End the source: the frames on their way still come, then the iteration ends. From any thread."""
        if self._pipeline.process == os.getpid():
            self._pipeline.stop()

    def close(self) -> None:
        """Stop at once: frames on their way are dropped, tracks are flushed to `best_shots`. Twice is harmless.

        From any thread. A frame that is just being read or looked at is waited for, at most 1.5 s. In a forked child,
        which has none of the threads, this does nothing.
        """
        if self._pipeline.process != os.getpid() or not self._pipeline.close():
            return
        if self._own_scorer is not None:
            self._own_scorer.close()
        if self._best_shots is not None:
            with self._turn:
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
    """Detectors of one pass, one a core, at most four.

    Args:
        side: Longest side at which they see a frame, pixels.
        model: As `FaceDetector` takes it.
    """
    count = min(available_cores(), MAX_DETECTORS)
    return [FaceDetector(model=model, min_confidence=LOW_CONFIDENCE, passes=(side,)) for _ in range(count)]


def _detectors(given: Detector | Sequence[Detector] | None) -> Sequence[Detector]:
    if given is None:
        return default_detectors()
    detectors = given if isinstance(given, Sequence) else [given]
    if not detectors:
        raise InputError("detector is an empty sequence, wanted at least one")
    return detectors
