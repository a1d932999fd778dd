"""The pipeline of a `VideoScorer`: each step in a thread of its own.

    source -> [frames] -> detection -> [frames] -> tracking -> [frames] -> scoring -> whoever iterates

Detection and scoring take several frames at once, so that all cores are busy whatever a frame shows; tracking takes
one after the other. Queues, in brackets, are bounded. Where the source is live, the first one drops its oldest frame
when it is full, so that what comes out is never old; everywhere else whoever is faster waits.
"""

import atexit
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sdk.alignment import align
from sdk.errors import ImageError, InputError, ScoreError
from sdk.images.decoding import load_image
from sdk.results import Face
from sdk.scorer import available_cores
from sdk.video.channel import Channel
from sdk.video.frames import Frame, FrameResult, Freshness, TrackedFace
from sdk.video.meter import Meter
from sdk.video.reading.sources import Source
from sdk.video.tracking import Tracking

log = logging.getLogger(__name__)

CORRUPT_LOGGED = 100
"""The first corrupt frame is logged, and then every hundredth."""

CLOSE_WAIT = 1.5
"""Most seconds that `close` waits for a frame that is being read, looked at or scored. Its thread ends with it."""

_running: "weakref.WeakSet[Pipeline]" = weakref.WeakSet()


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


class Pipeline:
    """Threads between a source and whoever takes the results; see `VideoScorer` for the arguments.

    Knows nothing of the `VideoScorer`, so that one that is dropped without `close` is collected and ends this.
    """

    def __init__(
        self,
        source: Source,
        scorer: FaceScorer,
        detectors: Sequence[Detector],
        tracker: Tracking,
        *,
        every: int,
        max_fps: float | None,
        min_size: float,
        queue: int,
    ) -> None:
        self.source = source
        self.meter = Meter()
        self.process = os.getpid()
        self.closed = False
        self._scorer, self._tracker = scorer, tracker
        self._every, self._max_fps, self._min_size = every, max_fps, min_size
        self._idle: SimpleQueue[Detector] = SimpleQueue()
        for one in detectors:
            self._idle.put(one)
        self._frames: Channel[Frame] = Channel(queue, drop_oldest=source.live)
        self._looked: Channel[Looked] = Channel(queue)
        self._followed: Channel[Followed] = Channel(queue)
        self._finders = ThreadPoolExecutor(len(detectors), thread_name_prefix="fiqa-detect")
        self._scorers = ThreadPoolExecutor(available_cores(), thread_name_prefix="fiqa-score")
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._stopped = False

    def take(self) -> FrameResult:
        """Give the next result; starts the threads.

        Raises:
            StopIteration: There are no more.
            Exception: What the source, the detector or the scorer raised.
        """
        self._start()
        return self._scored(*next(self._followed))

    def stop(self) -> None:
        """End the source; what is on its way still comes."""
        self._stopped = True
        self.source.close()

    def close(self) -> bool:
        """Drop what is on its way and end the threads; False where that was done before."""
        with self._lock:
            if self.closed:
                return False
            self.closed = True
        self.source.close()
        left = [channel.close() for channel in (self._frames, self._looked, self._followed)]
        self.meter.count("dropped", sum(map(len, left)))
        pools = (self._finders, self._scorers)
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        waiters = [threading.Thread(target=pool.shutdown, name="fiqa-wait", daemon=True) for pool in pools]
        for waiter in waiters:
            waiter.start()
        deadline = time.monotonic() + CLOSE_WAIT
        for thread in (*self._threads, *waiters):
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in (*self._threads, *waiters)):
            log.warning("%s: a frame is still being read or looked at; its thread ends with it", self.source.name)
        return True

    def abandon(self) -> None:
        """Close from wherever the collector runs: in a thread, for the one that it interrupted may hold a lock."""
        if self.process == os.getpid() and not self.closed:
            threading.Thread(target=self.close, name="fiqa-abandon", daemon=True).start()

    def _start(self) -> None:
        with self._lock:
            if self._threads or self.closed:
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
            _running.add(self)

    def _capture(self) -> None:
        freshness, first, due, last = Freshness(), 0.0, 0.0, 0.0
        usable = corrupt = 0
        for timestamp, raw in self.source.frames():
            arrived = time.monotonic()
            index = self.meter.captured(arrived)
            image = _checked(raw)
            if image is None:
                self.meter.count("corrupt")
                if corrupt % CORRUPT_LOGGED == 0:
                    log.warning("%s: frame %d is corrupt and left out", self.source.name, index)
                corrupt += 1
                continue
            usable += 1
            first = first or arrived
            # A damaged file's clock may jump back; a track's may not.
            if timestamp is None or not math.isfinite(timestamp):
                timestamp = arrived - first
            last = max(last, timestamp)
            if self._max_fps is not None:
                due = last if usable == 1 else due
                if last < due - 1e-3:
                    self.meter.count("skipped")
                    continue
                # From the moment it was due, so that 30 frames a second become 20 and not 15; but no catching up.
                due = max(due, last - 1 / self._max_fps) + 1 / self._max_fps
            frame = Frame(index, last, arrived, image, freshness.state(image))
            self._drop(self._frames.put(frame))
        if not usable and not self.closed and not self._stopped:
            what = f"{corrupt} corrupt frames and no other" if corrupt else "no frame"
            raise InputError(
                f"{self.source.name} gave {what}, wanted uint8 BGR (H, W, 3); see that it is a video and whole"
            )

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
            return [face for face in detector.detect(image) if _is_real(face)]
        finally:
            self._idle.put(detector)

    def _track(self) -> None:
        size: tuple[int, ...] | None = None
        for frame, looked in self._looked:
            try:
                if size is not None and frame.image.shape != size:
                    log.info("%s: frames are now %d x %d", self.source.name, frame.image.shape[1], frame.image.shape[0])
                    self._tracker.reset()
                size = frame.image.shape
                tracked = self._follow(frame, looked)
                faces = tuple(TrackedFace(face.box, face.landmarks, face.confidence, track) for track, face in tracked)
                scored = self._scorers.submit(self._score, frame.image, faces) if looked and faces else None
            except BaseException:
                self._drop(frame)
                if self.closed:
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
        scores = self._scores(list(crops.values()))
        given = {row: score for row, score in zip(crops, scores, strict=True) if math.isfinite(score)}
        return tuple(replace(face, score=given.get(row), crop=crops.get(row)) for row, face in enumerate(faces))

    def _scores(self, crops: list[NDArray[np.uint8]]) -> list[float]:
        """Scores of crops; NaN or infinity where the model gives no number."""
        if not crops:
            return []
        try:
            return [float(score) for score in self._scorer.score_batch(crops)]
        except ScoreError as error:
            return [float(score) for score in error.scores]

    def _scored(self, result: FrameResult, faces: "Future[tuple[TrackedFace, ...]] | None") -> FrameResult:
        try:
            return result if faces is None else replace(result, faces=faces.result())
        except BaseException:
            self._drop(result)
            raise

    def _drop(self, item: object) -> None:
        if item is not None:
            self.meter.count("dropped")


def _run(work: Callable[[], None], out: "Channel[Any]") -> None:
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - it is raised where the results are taken
        out.finish(error)
    else:
        out.finish()


def _is_real(face: Face) -> bool:
    """Whether box and landmarks are numbers, and not all in one point: a damaged detector may give anything."""
    points = np.asarray(face.landmarks)
    return bool(np.isfinite(face.box).all() and np.isfinite(points).all() and np.ptp(points, axis=0).max() > 0)


def _checked(raw: NDArray[Any] | None) -> NDArray[np.uint8] | None:
    try:
        return None if raw is None else load_image(raw)
    except ImageError:
        return None


@atexit.register
def _close_running() -> None:
    """End what nobody closed, before the interpreter goes: a thread that is in OpenCV then would abort the process."""
    for pipeline in list(_running):
        if pipeline.process == os.getpid():
            pipeline.close()
