"""The pipeline on finite sources, and on live ones that are iterators."""

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sdk import InputError, VideoScorer
from sdk.video import BestShots, Counters, FrameResult, TrackShots
from tests.support.squares import BlueScorer, Picture, SquareDetector, frame, walk


def accounted(counters: Counters) -> bool:
    return counters.captured == counters.corrupt + counters.skipped + counters.dropped + counters.delivered


def run(source: object, scorer: BlueScorer | None = None, **options: object) -> tuple[list[FrameResult], Counters]:
    detector = options.pop("detector", SquareDetector())
    with VideoScorer(source, scorer or BlueScorer(), detector, **options) as video:
        results = list(video)
    assert accounted(video.counters)
    return results, video.counters


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


def test_every_frame_comes_in_order_with_its_faces() -> None:
    results, counters = run([frame((10 + 4 * i, 60, 40, i / 20), (250, 10, 60, 0.9)) for i in range(20)])
    assert [result.index for result in results] == list(range(20))
    assert [result.timestamp for result in results] == pytest.approx([i / 25 for i in range(20)])
    assert {result.state for result in results} == {"new"}
    for i, result in enumerate(results):
        large, small = result.faces
        assert (large.track, small.track) == (1, 2)
        assert small.box == pytest.approx((10 + 4 * i, 60, 41, 41), abs=0.5)
        assert (large.score, small.score) == (pytest.approx(0.9, abs=0.01), pytest.approx(i / 20, abs=0.01))
        assert small.crop is not None
        assert small.crop.shape == (112, 112, 3)
    assert (counters.captured, counters.delivered, counters.scored, counters.faces) == (20, 20, 20, 40)
    assert (counters.dropped, counters.reconnects) == (0, 0)


def test_detection_every_n_frames_and_the_track_between() -> None:
    detector = SquareDetector()
    results, counters = run(walk(24), every=3, detector=detector)
    assert [result.state for result in results] == ["new", "between", "between"] * 8
    assert (detector.calls, counters.scored, counters.faces) == (8, 8, 8)
    between = results[22]
    assert [face.track for face in between.faces] == [1]
    assert between.faces[0].score is None
    assert between.faces[0].box == pytest.approx((10 + 4 * 22, 60, 41, 41), abs=3)


def test_several_detectors_look_at_once_and_order_is_kept() -> None:
    detectors = [SquareDetector(delay) for delay in (0.03, 0.005, 0.02)]
    results, _ = run(walk(30), detector=detectors, queue=3)
    assert [round(result.faces[0].box[0]) for result in results] == [10 + 4 * i for i in range(30)]
    assert [detector.most_busy for detector in detectors] == [1, 1, 1]
    assert min(detector.calls for detector in detectors) > 2


class PairedScorer(BlueScorer):
    """Scores only when a second caller is there, too."""

    def __init__(self) -> None:
        super().__init__()
        self.both = threading.Barrier(2)

    def score_batch(self, faces: Sequence[Picture]) -> NDArray[np.float32]:
        self.both.wait(timeout=5)
        return super().score_batch(faces)


def test_two_frames_are_scored_at_once_and_order_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.video.video_scorer.available_cores", lambda: 2)
    with VideoScorer(walk(20), PairedScorer(), SquareDetector()) as video:
        results = list(video)
    assert [round(result.faces[0].box[0]) for result in results] == [10 + 4 * i for i in range(20)]
    assert all(result.faces[0].score is not None for result in results)


def test_stale_and_blank_frames_are_not_scored() -> None:
    one, other = frame((50, 60, 40, 0.5)), frame((54, 60, 40, 0.5))
    black = np.random.default_rng(0).integers(0, 8, one.shape, np.uint8)
    detector = SquareDetector()
    results, counters = run([one, one.copy(), other, black, np.full_like(one, 130), one], detector=detector)
    assert [result.state for result in results] == ["new", "stale", "new", "blank", "blank", "new"]
    assert [[face.score is None for face in result.faces] for result in results] == [
        [False],
        [True],
        [False],
        [],
        [],
        [False],
    ]
    assert {face.track for result in results for face in result.faces} == {1}
    assert (detector.calls, counters.stale, counters.blank) == (3, 1, 2)


@pytest.mark.parametrize("state", ["stale", "blank"])
def test_tracks_end_while_a_camera_shows_nothing_new(state: str) -> None:
    last = frame((22, 60, 40, 0.5)) if state == "stale" else np.zeros((180, 320, 3), np.uint8)
    told: list[TrackShots] = []
    results, _ = run([*walk(3), *[last] * 60], best_shots=BestShots(told.append))
    assert results[-1].state == state
    assert results[-1].faces == ()
    (at,) = [result.index for result in results if result.ended]
    assert 50 < at < 57
    assert len(told) == 1


def test_a_buffer_that_its_owner_fills_again() -> None:
    buffer = frame()

    def source() -> Iterator[Picture]:
        for picture in walk(5):
            buffer[:] = picture
            yield buffer

    results, _ = run(source())
    assert [result.state for result in results] == ["new"] * 5
    assert [round(result.faces[0].box[0]) for result in results] == [10, 14, 18, 22, 26]
    assert len({result.image.tobytes() for result in results}) == 5


def test_corrupt_frames_are_counted_and_left_out() -> None:
    good = walk(4)
    bad = [None, good[0].astype(np.float32), np.zeros((4, 4, 3), np.uint8), np.zeros(7, np.uint8)]
    results, counters = run([good[0], *bad, *good[1:]])
    assert [result.index for result in results] == [0, 5, 6, 7]
    assert (counters.captured, counters.corrupt) == (8, 4)


def test_grey_frames_are_made_colour() -> None:
    results, _ = run([frame()[..., 0] for _ in range(2)])
    assert [result.image.shape for result in results] == [(180, 320, 3)] * 2


@pytest.mark.parametrize(("frames", "what"), [([], "no frame"), ([None, None], "2 corrupt frames and no other")])
def test_a_source_that_ends_at_once(frames: list[None], what: str) -> None:
    with pytest.raises(InputError, match=what):
        run(frames)


def test_size_changes_in_mid_stream() -> None:
    large = [frame((10 + 4 * i, 60, 40, 0.5), size=(640, 360)) for i in range(5)]
    results, _ = run([*walk(5), *large])
    assert [result.image.shape[1] for result in results] == [320] * 5 + [640] * 5
    assert [result.faces[0].track for result in results] == [1] * 5 + [2] * 5
    assert [result.ended for result in results] == [()] * 5 + [(1,)] + [()] * 4


def test_zero_faces_for_long_and_fifty_at_once() -> None:
    crowd = [frame(*((20 * (k % 10) + 5, 25 * (k // 10) + 5, 14, 0.5) for k in range(50))) for _ in range(3)]
    results, counters = run([*(frame() for _ in range(100)), *crowd])
    assert [len(result.faces) for result in results] == [0] * 100 + [50] * 3
    assert len({face.track for result in results for face in result.faces}) == 50
    assert counters.faces == 150


def test_small_faces_are_followed_but_not_scored() -> None:
    results, counters = run([frame((10, 10, 20, 0.5), (100, 60, 60, 0.5))], min_size=40)
    assert [face.score is None for face in results[0].faces] == [False, True]
    assert counters.faces == 1


def test_frames_above_a_rate_are_skipped() -> None:
    results, counters = run(walk(50), max_fps=10)  # two seconds at 25
    assert len(results) == 20
    assert counters.skipped == 30
    assert np.diff([result.timestamp for result in results]).max() <= 0.12 + 1e-6


def test_best_shots_come_early_late_and_at_the_end() -> None:
    told: list[TrackShots] = []
    gone = [frame() for _ in range(60)]  # longer than a track lives unseen
    squares = [(i, 0.2 + 0.1 * min(i, 8 - i)) for i in range(9)]  # best in the middle
    first = [frame((20 + 3 * i, 60, 40, score)) for i, score in squares]
    run([*first, *gone, *walk(3)], BlueScorer(accept=0.45), best_shots=BestShots(told.append, count=2))
    assert [(found.track, found.final) for found in told] == [(1, False), (1, True), (2, False), (2, True)]
    assert told[0].shots[0].frame == 3
    assert told[1].shots[0].frame == 4
    assert [found.faces for found in told if found.final] == [9, 3]


def live(count: int, pause: float) -> Iterator[Picture]:
    for picture in walk(count, step=0.2):
        yield picture
        time.sleep(pause)


def test_a_live_source_that_is_too_fast_loses_its_oldest_frames() -> None:
    with VideoScorer(live(150, 0.004), BlueScorer(), SquareDetector(0.02), live=True) as video:
        results = list(video)
    counters = video.counters
    assert counters.captured == 150
    assert accounted(counters)
    assert counters.dropped > 50
    indices = [result.index for result in results]
    assert indices == sorted(indices)
    assert indices[-2:] == [148, 149]  # the newest were kept
    assert {face.track for result in results for face in result.faces} == {1}
    # At most two frames wait in each queue and one is in each hand, so none is older than a dozen detections.
    assert counters.latency_p95 < 0.5


def test_a_file_loses_nothing_to_a_slow_consumer(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (320, 180))
    for picture in walk(20):
        writer.write(picture)
    writer.release()
    seen = 0
    with VideoScorer(path, BlueScorer(), SquareDetector()) as video:
        for _ in video:
            time.sleep(0.01)
            seen += 1
    assert (seen, video.counters.dropped) == (20, 0)


def test_a_slow_consumer_of_a_live_source_gets_new_frames() -> None:
    indices = []
    with VideoScorer(live(200, 0.002), BlueScorer(), SquareDetector(), live=True) as video:
        for result in video:
            indices.append(result.index)
            time.sleep(0.05)
    assert video.counters.dropped > 100
    assert accounted(video.counters)
    assert len(indices) < 50
    assert indices[-1] == 199


def test_close_in_mid_stream_flushes_the_tracks() -> None:
    told: list[TrackShots] = []
    with VideoScorer(
        itertools.cycle(walk(50)), BlueScorer(), SquareDetector(), best_shots=BestShots(told.append)
    ) as video:
        for result in video:
            if result.index == 5:
                break
    video.close()
    assert accounted(video.counters)
    assert video.counters.delivered == 6
    assert [(found.track, found.final, found.faces) for found in told] == [(1, True, 6)]
    assert list(video) == []


def test_stop_lets_frames_on_their_way_come() -> None:
    with VideoScorer(itertools.cycle(walk(50)), BlueScorer(), SquareDetector()) as video:
        next(video)
        video.stop()
        rest = list(video)
    assert video.counters.dropped == 0
    assert 1 <= len(rest) < 12
    assert accounted(video.counters)


def test_ctrl_c_flushes_the_tracks() -> None:
    told: list[TrackShots] = []

    def interrupted() -> None:
        shots = BestShots(told.append)
        with VideoScorer(itertools.cycle(walk(50)), BlueScorer(), SquareDetector(), best_shots=shots) as video:
            for result in video:
                if result.index == 3:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [found.faces for found in told] == [4]


def test_a_callback_that_raises_ends_the_stream() -> None:
    def fail(found: TrackShots) -> None:
        raise RuntimeError("the gate is shut")

    video = VideoScorer(walk(50), BlueScorer(accept=0.1), SquareDetector(), best_shots=BestShots(fail))
    with pytest.raises(RuntimeError, match="the gate is shut"):
        next(video)
    assert list(video) == []
    assert accounted(video.counters)


class Broken(SquareDetector):
    """Fails at its third frame."""

    def detect(self, image: Picture) -> list[object]:
        if self.calls == 2:
            raise ValueError("detector broken")
        return super().detect(image)


def broken_source() -> Iterator[Picture]:
    yield from walk(3)
    raise ValueError("source broken")


class BrokenScorer(BlueScorer):
    """Fails at every frame."""

    def score_batch(self, faces: Sequence[Picture]) -> NDArray[np.float32]:
        raise ValueError("scorer broken")


@pytest.mark.parametrize(
    ("source", "scorer", "detector", "error"),
    [
        (walk(50), BlueScorer(), Broken(), "detector broken"),
        (walk(50), BrokenScorer(), SquareDetector(), "scorer broken"),
        (broken_source(), BlueScorer(), SquareDetector(), "source broken"),
    ],
)
def test_an_error_within_reaches_the_caller(
    source: object, scorer: BlueScorer, detector: SquareDetector, error: str
) -> None:
    with VideoScorer(source, scorer, detector) as video:
        seen = []
        with pytest.raises(ValueError, match=error):
            seen.extend(iter(video))
    assert accounted(video.counters)


def test_a_scorer_may_be_shared(tmp_path: Path) -> None:
    scorer, detector = BlueScorer(), SquareDetector()
    with VideoScorer(walk(5), scorer, detector) as one, VideoScorer(walk(5), scorer, detector) as other:
        assert [len(result.faces) for result in itertools.chain(one, other)] == [1] * 10


def test_a_video_scorer_that_is_never_iterated_closes() -> None:
    video = VideoScorer(walk(3), BlueScorer(), SquareDetector())
    video.close()
    assert video.counters == Counters()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every is 0"),
        ({"every": 1.5}, "every is 1.5, wanted a whole number"),
        ({"queue": 0}, "queue is 0"),
        ({"max_fps": 0}, "max_fps is 0"),
        ({"max_fps": float("nan")}, "max_fps is nan"),
        ({"max_fps": -3}, "max_fps is -3"),
        ({"min_size": float("nan")}, "min_size is nan"),
        ({"min_size": -1}, "min_size is -1"),
        ({"detector": []}, "detector is an empty sequence"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(walk(2), **options)


def test_real_models_find_and_score_the_clip() -> None:
    told: list[TrackShots] = []
    slope = np.linspace(0, 200, 320, dtype=np.uint8)
    pictures = [np.ascontiguousarray(np.broadcast_to(row[:, None], (180, 320, 3))) for row in (slope, slope[::-1])]
    photo = cv2.imread(str(Path(__file__).parents[3] / "examples" / "media" / "astronaut.jpg"))
    with VideoScorer([*pictures, photo], best_shots=BestShots(told.append), live=False) as video:
        results = list(video)
    assert [len(result.faces) for result in results] == [0, 0, 1]
    assert results[2].faces[0].score is not None
    assert results[2].faces[0].score > 0.5
    assert told[0].shots[0].frame == 2


def test_objects_print_themselves_without_pixels() -> None:
    found: list[TrackShots] = []
    with VideoScorer(walk(2), BlueScorer(), SquareDetector(), best_shots=BestShots(found.append)) as video:
        assert repr(video) == "VideoScorer('the iterable (list)', not live, 25 frames/s, open)"
        first = next(video)
    assert repr(video).endswith("closed)")
    assert repr(first).startswith(
        "FrameResult(index=0, timestamp=0.0, state='new', faces=(TrackedFace(box=(10.0, 60.0,"
    )
    (shot,) = found[0].shots
    assert repr(shot).startswith("Shot(frame=0, timestamp=0.0, face=TrackedFace(")
    for text in map(repr, (first, shot, found[0])):
        assert "image=" not in text
        assert "crop=" not in text
        assert "picture=" not in text
    assert repr(Counters(captured=3, fps_in=24.98765, age=0.0)) == "Counters(captured=3, fps_in=24.99)"
