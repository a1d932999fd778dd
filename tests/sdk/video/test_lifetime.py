"""A `VideoScorer` that is not treated well: dropped, forked, closed from elsewhere, given models that fail."""

import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sdk import InputError, VideoScorer
from sdk.errors import ScoreError
from sdk.results import Face
from sdk.video import BestShots, TrackedFace, TrackShots, open_source
from sdk.video.frames import FrameResult
from sdk.video.pipeline import Pipeline
from sdk.video.settings import Settings
from sdk.video.tracking import Tracker
from sdk.video.writing.records import frame_row
from tests.support.squares import BlueScorer, Picture, SquareDetector, frame, walk


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fiqa-")]


def wait_until(what: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.02)
    return what()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    assert wait_until(lambda: not our_threads())
    yield
    assert wait_until(lambda: not our_threads()), our_threads()


def endless() -> Iterator[Picture]:
    while True:
        yield from walk(5)


def test_one_that_is_dropped_ends() -> None:
    video = VideoScorer(endless(), BlueScorer(), SquareDetector())
    assert next(video).faces
    assert our_threads()
    del video
    gc.collect()


def test_a_loop_that_is_left_ends() -> None:
    for result in VideoScorer(endless(), BlueScorer(), SquareDetector()):
        assert result.faces
        break
    gc.collect()


def test_one_in_a_circle_that_is_dropped_ends() -> None:
    video = VideoScorer(endless(), BlueScorer(), SquareDetector())
    video.me = video  # type: ignore[attr-defined]
    next(video)
    del video
    gc.collect()


def test_scores_that_were_cancelled_by_close_end_the_loop() -> None:
    pipeline = Pipeline(open_source(walk(1)), BlueScorer(), [SquareDetector()], Tracker(), Settings())
    cancelled: Future[tuple[TrackedFace, ...]] = Future()
    cancelled.cancel()
    pipeline._tracked.put((FrameResult(0, 0.0, 0.0, frame(), "new"), cancelled))
    pipeline._start = lambda: None  # type: ignore[method-assign]
    pipeline.closed = True
    with pytest.raises(StopIteration):
        pipeline.take()
    assert pipeline.meter.read(0).dropped == 1


def test_close_from_another_thread_ends_the_loop() -> None:
    told: list[TrackShots] = []
    shots = BestShots(told.append)
    video = VideoScorer(endless(), BlueScorer(), SquareDetector(), best_shots=shots)
    next(video)
    threading.Timer(0.3, video.close).start()
    for _ in video:
        pass
    assert wait_until(lambda: bool(told))
    assert told[-1].final
    counters = video.counters
    assert counters.captured == counters.delivered + counters.dropped


@pytest.mark.parametrize("where", ["detect", "score_batch", "callback", "source"])
def test_close_from_within_does_not_hang(where: str) -> None:
    """Each stage closes the stream that it is a part of."""
    made: list[VideoScorer] = []

    class Closing(SquareDetector, BlueScorer):
        def detect(self, image: Picture) -> list[Face]:
            if where == "detect":
                made[0].close()
            return SquareDetector.detect(self, image)

        def score_batch(self, faces: Sequence[Picture]) -> NDArray[np.float32]:
            if where == "score_batch":
                made[0].close()
            return BlueScorer().score_batch(faces)

        def decide(self, score: float) -> tuple[int | None, bool | None]:
            return None, True

    def pictures() -> Iterator[Picture]:
        for count, picture in enumerate(endless()):
            if where == "source" and count == 5:
                made[0].close()
            yield picture

    both = Closing()
    shots = BestShots(lambda found: made[0].close()) if where == "callback" else None
    made.append(VideoScorer(pictures(), both, both, best_shots=shots))
    start = time.monotonic()
    list(made[0])
    assert time.monotonic() - start < 15


def test_a_detector_that_hangs_does_not_hold_close() -> None:
    free = threading.Event()

    class Hanging(SquareDetector):
        def detect(self, image: Picture) -> list[Face]:
            free.wait(60)
            return []

    video = VideoScorer(endless(), BlueScorer(), Hanging())
    threading.Timer(0.2, video.close).start()
    start = time.monotonic()
    assert list(video) == []
    assert wait_until(lambda: video._pipeline.closed)
    assert time.monotonic() - start < 10
    free.set()


class Odd:
    """Gives no number for every second face; as values, or as an error that holds them."""

    def __init__(self, value: float, as_error: bool) -> None:
        self.value, self.as_error = value, as_error
        self.count = 0

    def score_batch(self, faces: Sequence[Picture]) -> NDArray[np.float32]:
        scores = BlueScorer().score_batch(faces)
        scores[1::2] = np.nan if self.as_error else self.value
        if self.as_error and len(scores) > 1:
            raise ScoreError("a model gave NaN", scores)
        return scores


@pytest.mark.parametrize(("value", "as_error"), [(np.nan, False), (np.inf, False), (-np.inf, False), (np.nan, True)])
def test_a_score_that_is_no_number(value: float, as_error: bool) -> None:
    told: list[TrackShots] = []
    pictures = [frame((10 + 4 * i, 60, 60, 0.5), (200, 20, 40, 0.9)) for i in range(6)]
    shots = BestShots(told.append)
    with VideoScorer(pictures, Odd(value, as_error), SquareDetector(), best_shots=shots) as video:
        results = list(video)
    assert [[face.score is None for face in result.faces] for result in results] == [[False, True]] * 6
    assert (video.counters.faces, video.counters.unscored) == (6, 6)
    assert {found.track: (len(found.shots), found.refused) for found in told} == {1: (3, {}), 2: (0, {"unscored": 6})}
    for result in results:
        json.dumps(frame_row(result), allow_nan=False)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("part", ["box", "landmarks", "point"])
def test_faces_that_are_no_numbers_are_none(value: float, part: str) -> None:
    class Damaged(SquareDetector):
        def detect(self, image: Picture) -> list[Face]:
            found = super().detect(image)
            box = (value, *found[0].box[1:]) if part == "box" else found[0].box
            points = {"landmarks": np.full((5, 2), value), "point": np.zeros((5, 2))}.get(part, found[0].landmarks)
            return [*found, Face(box, points.astype(np.float32), 0.9)]

    with VideoScorer(walk(3), BlueScorer(), Damaged()) as video:
        assert [len(result.faces) for result in video] == [1, 1, 1]


@pytest.mark.parametrize("clock", [float("nan"), float("inf"), -5.0, 1e300])
def test_a_source_with_an_odd_clock(clock: float) -> None:
    class Clock:
        name, live, fps, reconnects = "clock", False, 25.0, 0

        def frames(self) -> Iterator[tuple[float, Picture]]:
            for picture in walk(3):
                yield clock, picture

        def close(self) -> None:
            pass

    with VideoScorer(Clock(), BlueScorer(), SquareDetector()) as video:
        rows = [frame_row(result) for result in video]
    assert len(json.dumps(rows, allow_nan=False)) > 100
    assert all(row["timestamp"] >= 0 for row in rows)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_forked_child_is_told_at_once() -> None:
    with VideoScorer(endless(), BlueScorer(), SquareDetector()) as video:
        next(video)
        child = os.fork()
        if not child:
            code = 1
            try:
                next(video)
            except InputError as error:
                video.stop()
                video.close()
                code = 0 if "was made by process" in str(error) else 2
            finally:
                os._exit(code)
        end = time.monotonic() + 20
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end:
            time.sleep(0.05)
        assert ended == (child, 0)
        assert next(video).faces


EXIT = """
import sys
sys.path.insert(0, {here!r})
from tests.support.squares import BlueScorer, SquareDetector, walk
from sdk import VideoScorer
def endless():
    while True:
        yield from walk(5)
video = VideoScorer(endless(), BlueScorer(), SquareDetector())
print(len(next(video).faces))
"""


@pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 3), reason="Python 3.12.0 to 3.12.2 start no thread while they end"
)
def test_the_end_of_the_interpreter_without_close() -> None:
    here = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", EXIT.format(here=here)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
