"""VideoScorer: frames in, tracked and scored faces out, each step in a thread of its own.

    source -> [frames] -> detection -> [frames] -> tracking -> [frames] -> scoring -> your loop

Detection and scoring take several frames at once, so that all cores are busy whatever a frame shows; tracking takes
one after the other. Queues, in brackets, are bounded. Where the source is live, the first one drops its oldest frame
when it is full, so that what comes out is never old; everywhere else whoever is faster waits.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sdk.alignment import align
from sdk.detection import FaceDetector
from sdk.errors import ImageError, InputError
from sdk.faces import Face
from sdk.images import load_image
from sdk.scorer import QualityScorer, available_cores
from sdk.video.best_shot import BestShots
from sdk.video.capture import READ_TIMEOUT
from sdk.video.channel import Channel
from sdk.video.frames import Frame, FrameResult, Freshness, TrackedFace
from sdk.video.meter import Counters, Meter
from sdk.video.sources import Source, VideoSource, open_source
from sdk.video.tracking import Tracker, Tracking

log = logging.getLogger(__name__)

DETECTION_SIDE = 640
"""Longest side at which the default detectors see a frame, pixels: one pass, for a stream has no time for more."""

LOW_CONFIDENCE = 0.4
"""The default detector also gives faces that may continue a track, but not begin one."""

MAX_DETECTORS = 4
"""Most frames in which the default detectors look at once."""

CORRUPT_LOGGED = 100
"""The first corrupt frame is logged, and then every hundredth."""


class Detector(Protocol):
    """What the pipeline wants of a detector; `FaceDetector` is one."""

    def detect(self, image: NDArray[np.uint8], /) -> list[Face]:
        """Faces of an image, uint8 BGR (H, W, 3), largest first."""
        ...


class FaceScorer(Protocol):
    """What the pipeline wants of a scorer; `QualityScorer` is one. Called by several threads at once."""

    def score_batch(self, faces: Sequence[NDArray[np.uint8]], /) -> NDArray[np.float32]:
        """Scores of aligned crops, uint8 BGR (112, 112, 3)."""
        ...


Looked: TypeAlias = tuple[Frame, "Future[list[Face]] | None"]
"""A frame, and the faces that will have been found in it; None where nobody looks."""

Followed: TypeAlias = tuple[FrameResult, "Future[tuple[TrackedFace, ...]] | None"]
"""A result without scores, and its faces with them, once they are scored; None where nobody scores."""


class VideoScorer:
    """Finds, follows and scores the faces of a stream. Iterate over it; use it as a context manager.

    Args:
        source: Index of a camera, path of a video or of a folder of frames, URL, GStreamer pipeline, Jetson preset, or
            any iterable of uint8 BGR frames; see `sdk.video.sources.open_source`.
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
            if value < 1:
                raise InputError(f"{name} is {value}, wanted at least 1")
        if max_fps is not None and not max_fps > 0:
            raise InputError(f"max_fps is {max_fps}, wanted more than 0 frames per second, or None for all")
        self._every, self._max_fps, self._min_size = every, max_fps, min_size
        detectors = _detectors(detector)
        self._idle: SimpleQueue[Detector] = SimpleQueue()
        for one in detectors:
            self._idle.put(one)
        self._tracker = Tracker() if tracker is None else tracker
        self._best_shots = best_shots
        self._own_scorer = QualityScorer() if scorer is None else None
        self._scorer: FaceScorer = scorer if scorer is not None else self._own_scorer  # type: ignore[assignment]
        try:
            self._source: Source = open_source(source, live)  # last: what a live one gives meanwhile grows old
        except BaseException:
            if self._own_scorer is not None:
                self._own_scorer.close()
            raise
        self._meter = Meter()
        self._frames: Channel[Frame] = Channel(queue, drop_oldest=self._source.live)
        self._looked: Channel[Looked] = Channel(queue)
        self._followed: Channel[Followed] = Channel(queue)
        self._finders = ThreadPoolExecutor(len(detectors), thread_name_prefix="fiqa-detect")
        self._scorers = ThreadPoolExecutor(available_cores(), thread_name_prefix="fiqa-score")
        self._threads: list[threading.Thread] = []
        self._closing = threading.Lock()
        self._closed = self._stopped = False

    @property
    def name(self) -> str:
        """The source, without its password."""
        return self._source.name

    @property
    def live(self) -> bool:
        """Whether the source is live."""
        return self._source.live

    @property
    def fps(self) -> float:
        """Frames per second of the source, as far as it says."""
        return self._source.fps

    @property
    def counters(self) -> Counters:
        """What was captured, dropped, scored until now, and how fast; may be read from any thread."""
        return self._meter.read(self._source.reconnects)

    def __iter__(self) -> Iterator[FrameResult]:
        return self

    def __next__(self) -> FrameResult:
        """The next result, in order; closes at the end, and on any error.

        Raises:
            InputError: The source ended without a frame that can be used.
            Exception: What the source, the detector, the scorer or the callback raised.
        """
        try:
            self._start()
            result = self._scored(*next(self._followed))
            self._meter.delivered(result)
            if self._best_shots is not None:
                self._best_shots.update(result)
            return result
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """End the source: the frames on their way still come, then the iteration ends. From any thread."""
        self._stopped = True
        self._source.close()

    def close(self) -> None:
        """Stop at once: frames on their way are dropped, tracks are flushed to `best_shots`. Twice is harmless.

        To be called by the thread that iterates; others call `stop`. A source that is just waiting for a frame is
        waited for, up to some seconds.
        """
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._source.close()
        left = [channel.close() for channel in (self._frames, self._looked, self._followed)]
        self._meter.count("dropped", sum(map(len, left)))
        for pool in (self._finders, self._scorers):
            pool.shutdown(cancel_futures=True)
        deadline = time.monotonic() + READ_TIMEOUT + 1
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                log.warning("%s still waits for a frame; its thread ends with it", self.name)
        if self._own_scorer is not None:
            self._own_scorer.close()
        if self._best_shots is not None:
            self._best_shots.flush()

    def __enter__(self) -> "VideoScorer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        if self._threads or self._closed:
            return
        stages: tuple[tuple[str, Callable[[], None], Channel[Any]], ...] = (
            ("capture", self._capture, self._frames),
            ("look", self._look, self._looked),
            ("track", self._track, self._followed),
        )
        for name, work, out in stages:
            arguments = (work, out)
            self._threads.append(threading.Thread(target=_run, args=arguments, name=f"fiqa-{name}", daemon=True))
        for thread in self._threads:
            thread.start()

    def _capture(self) -> None:
        freshness, first, due, last = Freshness(), 0.0, 0.0, 0.0
        usable = corrupt = 0
        for timestamp, raw in self._source.frames():
            arrived = time.monotonic()
            index = self._meter.captured(arrived)
            image = _checked(raw)
            if image is None:
                self._meter.count("corrupt")
                if corrupt % CORRUPT_LOGGED == 0:
                    log.warning("%s: frame %d is corrupt and left out", self.name, index)
                corrupt += 1
                continue
            usable += 1
            first = first or arrived
            # A damaged file's clock may jump back; a track's may not.
            last = max(last, arrived - first if timestamp is None else timestamp)
            if self._max_fps is not None:
                due = last if usable == 1 else due
                if last < due - 1e-3:
                    self._meter.count("skipped")
                    continue
                # From the moment it was due, so that 30 frames a second become 20 and not 15; but no catching up.
                due = max(due, last - 1 / self._max_fps) + 1 / self._max_fps
            frame = Frame(index, last, arrived, image, freshness.state(image))
            self._drop(self._frames.put(frame))
        if not usable and not self._closed and not self._stopped:
            what = f"{corrupt} corrupt frames and no other" if corrupt else "no frame"
            raise InputError(f"{self.name} gave {what}, wanted uint8 BGR (H, W, 3); see that it is a video and whole")

    def _look(self) -> None:
        looked = 0
        for frame in self._frames:
            faces = None
            if frame.state == "new":
                if looked % self._every == 0:
                    try:
                        faces = self._finders.submit(self._detect, frame.image)
                    except RuntimeError:  # the pool is shut down: this is closed
                        self._drop(frame)
                        return
                else:
                    frame = replace(frame, state="between")
                looked += 1
            self._drop(self._looked.put((frame, faces)))

    def _detect(self, image: NDArray[np.uint8]) -> list[Face]:
        detector = self._idle.get()  # never waits: there are as many threads as detectors
        try:
            return detector.detect(image)
        finally:
            self._idle.put(detector)

    def _track(self) -> None:
        size: tuple[int, ...] | None = None
        for frame, looked in self._looked:
            try:
                if size is not None and frame.image.shape != size:
                    log.info("%s: frames are now %d x %d", self.name, frame.image.shape[1], frame.image.shape[0])
                    self._tracker.reset()
                size = frame.image.shape
                tracked = self._follow(frame, looked)
                faces = tuple(TrackedFace(face.box, face.landmarks, face.confidence, track) for track, face in tracked)
                scored = self._scorers.submit(self._score, frame.image, faces) if looked and faces else None
            except BaseException:
                self._drop(frame)
                if self._closed:
                    return
                raise
            ended = self._tracker.take_ended()
            result = FrameResult(frame.index, frame.timestamp, frame.arrived, frame.image, frame.state, faces, ended)
            self._drop(self._followed.put((result, scored)))

    def _follow(self, frame: Frame, looked: "Future[list[Face]] | None") -> list[tuple[int, Face]]:
        if looked is not None:
            return self._tracker.update(looked.result(), frame.timestamp)
        # Nobody is seen in a blank frame; a track that stays unseen ends, also while a camera is frozen.
        blank = frame.state == "blank"
        return self._tracker.update([], frame.timestamp) if blank else self._tracker.predict(frame.timestamp)

    def _score(self, image: NDArray[np.uint8], faces: tuple[TrackedFace, ...]) -> tuple[TrackedFace, ...]:
        least = max(self._min_size, 1)
        crops = {row: align(image, face.landmarks) for row, face in enumerate(faces) if min(face.box[2:]) >= least}
        scores = dict(zip(crops, self._scorer.score_batch(list(crops.values())), strict=True)) if crops else {}
        return tuple(
            replace(face, score=float(scores[row]), crop=crops[row]) if row in scores else face
            for row, face in enumerate(faces)
        )

    def _scored(self, result: FrameResult, faces: "Future[tuple[TrackedFace, ...]] | None") -> FrameResult:
        try:
            return result if faces is None else replace(result, faces=faces.result())
        except BaseException:
            self._drop(result)
            raise

    def _drop(self, item: object) -> None:
        if item is not None:
            self._meter.count("dropped")


def _run(work: Callable[[], None], out: "Channel[Any]") -> None:
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - it is raised where the results are taken
        out.finish(error)
    else:
        out.finish()


def _checked(raw: NDArray[Any] | None) -> NDArray[np.uint8] | None:
    try:
        return None if raw is None else load_image(raw)
    except ImageError:
        return None


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
