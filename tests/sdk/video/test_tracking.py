"""Which face is which."""

import numpy as np
import pytest

from sdk.alignment import TEMPLATE
from sdk.errors import InputError
from sdk.results import Face
from sdk.video import Tracker
from sdk.video.tracking import MAX_TRACKS


def face(x: float, y: float = 50, side: float = 40, confidence: float = 0.9) -> Face:
    points = (TEMPLATE / 112 * side + (x, y)).astype(np.float32)
    return Face((x, y, side, side), points, confidence)


def numbers(tracked: list[tuple[int, Face]]) -> list[int]:
    return [number for number, _ in tracked]


def test_faces_keep_their_numbers_while_they_pass_each_other() -> None:
    tracker = Tracker()
    for step in range(30):
        tracked = tracker.update([face(10 + 8 * step, 20), face(250 - 8 * step, 80)], step / 25)
        assert numbers(tracked) == [1, 2]
    assert tracker.take_ended() == ()


def test_a_fast_face_is_followed_once_its_speed_is_known() -> None:
    tracker = Tracker()
    x = 0.0
    for step in range(20):
        x += 1.5 * step  # at the end it moves by 70 % of its width in a frame
        assert numbers(tracker.update([face(x)], step / 25)) == [1]


def test_a_gap_is_bridged_and_a_long_absence_ends_the_track() -> None:
    tracker = Tracker(max_age=0.5)
    for step in range(10):
        tracker.update([face(4 * step)], step / 25)
    for step in range(10, 18):
        assert tracker.update([], step / 25) == []
    assert numbers(tracker.update([face(4 * 18)], 18 / 25)) == [1]
    assert tracker.update([], 2.0) == []
    assert tracker.take_ended() == (1,)
    assert tracker.take_ended() == ()
    assert numbers(tracker.update([face(4 * 18)], 2.04)) == [2]


@pytest.mark.parametrize(("away", "moved", "number"), [(1.6, 5, 1), (1.6, 16, 1), (1.6, 18, 2), (2.4, 5, 2)])
def test_a_face_that_was_hidden_returns_to_its_place(away: float, moved: float, number: int) -> None:
    """Its speed before would have carried its prediction far away."""
    tracker = Tracker()
    for step in range(10):
        tracker.update([face(4 * step)], step / 25)
    assert tracker.update([], 0.5) == []
    assert numbers(tracker.update([face(36 + moved)], 9 / 25 + away)) == [number]


def test_after_a_second_a_prediction_is_followed_no_more() -> None:
    tracker = Tracker()
    for step in range(25):
        tracker.update([face(4 * step)], step / 25)
    assert numbers(tracker.update([face(4 * 48)], 48 / 25)) == [1]
    assert numbers(tracker.update([face(4 * 76)], 76 / 25)) == [2]


def test_low_confidence_continues_a_track_but_begins_none() -> None:
    tracker = Tracker(confidence=0.7)
    assert tracker.update([face(0, confidence=0.5)], 0) == []
    assert numbers(tracker.update([face(0)], 0.04)) == [1]
    weak, other = face(1, confidence=0.5), face(200, confidence=0.5)
    assert tracker.update([other, weak], 0.08) == [(1, weak)]


def test_sure_faces_choose_first() -> None:
    tracker = Tracker()
    tracker.update([face(0)], 0)
    sure, unsure = face(12), face(1, confidence=0.5)
    assert tracker.update([unsure, sure], 0.04) == [(1, sure)]


def test_prediction_moves_box_and_landmarks() -> None:
    tracker = Tracker()
    for step in range(25):
        tracker.update([face(3 * step)], step / 25)
    ((number, predicted),) = tracker.predict(26 / 25)  # two frames later
    assert number == 1
    assert predicted.box == pytest.approx((3 * 26, 50, 40, 40), abs=1)
    assert predicted.landmarks == pytest.approx(face(3 * 26).landmarks, abs=1)
    tracker.update([], 26 / 25)
    ((_, lost),) = tracker.predict(27 / 25)
    assert lost.box[0] > 3 * 25


def test_reset_ends_all() -> None:
    tracker = Tracker()
    tracker.update([face(0), face(100)], 0)
    tracker.reset()
    assert tracker.take_ended() == (1, 2)
    assert tracker.predict(0.1) == []
    assert numbers(tracker.update([face(0)], 0.1)) == [3]


def test_memory_is_bounded() -> None:
    tracker = Tracker()
    for step in range(20):
        tracker.update([face(50 * column, 1000 * step) for column in range(50)], step / 100)
    ended = tracker.take_ended()
    assert len(ended) == 1000 - MAX_TRACKS
    assert set(ended) == set(range(1, 1001 - MAX_TRACKS))  # those not seen for longest


def test_faces_without_area_are_not_followed() -> None:
    tracker = Tracker()
    flat = Face((10, 10, 0, 0), np.zeros((5, 2), np.float32), 0.9)
    assert numbers(tracker.update([flat, face(0)], 0)) == [1]
    assert tracker.update([flat], 0.04) == []


@pytest.mark.parametrize("arguments", [{"confidence": 2}, {"confidence": float("nan")}, {"max_age": 0}])
def test_wrong_numbers(arguments: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(arguments))):
        Tracker(**arguments)
