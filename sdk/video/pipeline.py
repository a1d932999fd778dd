"""The pipeline of a `VideoScorer`: each stage in a thread of its own.

    source -> reading -> [frames] -> detection -> [frames] -> following and scoring -> [frames] -> whoever iterates

Detection and scoring take several frames at once, so that all cores are busy whatever a frame shows. Faces are followed
in one frame after the other. Channels, in brackets, are bounded. Where the source is live, a full first channel drops
its oldest frame, so that results are never old; everywhere else the faster thread waits.
"""

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol

from sdk.video.channel import Channel
from sdk.video.frames import Frame, FrameResult
from sdk.video.meter import Meter
from sdk.video.reading.source import Source
from sdk.video.settings import Settings
from sdk.video.stages.detection import Detected, Detection, Detector
from sdk.video.stages.following import Following, Tracked
from sdk.video.stages.reading import Reading
from sdk.video.stages.scoring import FaceScorer, Scoring
from sdk.video.tracking import Tracking

log = logging.getLogger(__name__)

CLOSE_WAIT = 1.5
"""Most seconds that `close` waits for a frame that is being read or scored. Its thread ends with that frame."""

_running: "weakref.WeakSet[Pipeline]" = weakref.WeakSet()


class Stage(Protocol):
    """A stage of the pipeline."""

    def run(self) -> None:
        """Work until there is nothing more to do."""


class Pipeline:
    """Runs the stages between a source and the thread that takes the results.

    It does not know its `VideoScorer`. So one that is dropped without `close` is collected, and ends this.

    Attributes:
        source: Where the frames come from.
        meter: Counts them.
        process: Number of the process that made this.
        closed: Whether `close` was called.
    """

    def __init__(
        self, source: Source, scorer: FaceScorer, detectors: Sequence[Detector], tracker: Tracking, settings: Settings
    ) -> None:
        self.source, self.meter = source, Meter()
        self.process, self.closed = os.getpid(), False
        self._ending = threading.Event()
        frames = Channel[Frame](settings.queue, drop_oldest=source.live)
        detected = Channel[Detected](settings.queue)
        self._tracked = Channel[Tracked](settings.queue)
        detection = Detection(frames, detected, self.meter, detectors, settings.every)
        scoring = Scoring(scorer, settings.min_size)
        following = Following(detected, self._tracked, self.meter, tracker, scoring, source.name)
        self._stages: tuple[tuple[Stage, Channel[Any]], ...] = (
            (Reading(source, frames, self.meter, settings.max_fps, self._ending), frames),
            (detection, detected),
            (following, self._tracked),
        )
        self._pools: tuple[ThreadPoolExecutor, ...] = (detection.pool, following.pool)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def take(self) -> FrameResult:
        """Return the next result; the first call starts the threads.

        Raises:
            StopIteration: There are no more.
            Exception: What the source, the detector or the scorer raised.
        """
        self._start()
        result, faces = next(self._tracked)
        try:
            return result if faces is None else replace(result, faces=faces.result())
        except BaseException as error:
            self.meter.count_dropped(result)
            if self.closed and isinstance(error, CancelledError):  # by another thread, meanwhile
                raise StopIteration from error
            raise

    def stop(self) -> None:
        """End the source; frames on their way still come."""
        self._ending.set()
        self.source.close()

    def close(self) -> bool:
        """Drop the frames on their way and end the threads; False where that was done before."""
        with self._lock:
            if self.closed:
                return False
            self.closed = True
        self.stop()
        left = [channel.close() for _, channel in self._stages]
        self.meter.count("dropped", sum(map(len, left)))
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)
        waiters = [threading.Thread(target=pool.shutdown, name="fiqa-wait", daemon=True) for pool in self._pools]
        for waiter in waiters:
            waiter.start()
        self._join([*self._threads, *waiters])
        return True

    def abandon(self) -> None:
        """Close from wherever the collector runs: in a thread, for the one that it interrupted may hold a lock."""
        if self.process == os.getpid() and not self.closed:
            threading.Thread(target=self.close, name="fiqa-abandon", daemon=True).start()

    def _start(self) -> None:
        with self._lock:
            if self._threads or self.closed:
                return
            for stage, out in self._stages:
                name = f"fiqa-{type(stage).__name__.lower()}"
                self._threads.append(threading.Thread(target=_run, args=(stage, out), name=name, daemon=True))
            for thread in self._threads:
                thread.start()
            _running.add(self)

    def _join(self, threads: Sequence[threading.Thread]) -> None:
        deadline = time.monotonic() + CLOSE_WAIT
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            log.warning("%s: a frame is still being read or scored; its thread ends with it", self.source.name)


def _run(stage: Stage, out: "Channel[Any]") -> None:
    try:
        stage.run()
    except BaseException as error:  # noqa: BLE001 - it is raised where the results are taken
        out.finish(error)
    else:
        out.finish()


@atexit.register
def _close_running() -> None:
    """End what nobody closed, before the interpreter goes: a thread that is in OpenCV then would abort the process."""
    for pipeline in list(_running):
        if pipeline.process == os.getpid():
            pipeline.close()
