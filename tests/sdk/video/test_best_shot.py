"""The best faces of a track."""

from dataclasses import replace

import numpy as np
import pytest

from sdk.decision.measures import make_measure
from sdk.decision.reasons import find_reasons
from sdk.errors import InputError
from sdk.video import BestShots, FrameResult, TrackedFace, TrackShots, sharpness

SOFT = np.full((112, 112, 3), 120, np.uint8)
SHARP = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)


def result(
    index: int,
    *faces: tuple[int, float | None],
    ended: tuple[int, ...] = (),
    crop: object = SHARP,
    accept: float | None = None,
    confidence: float = 0.9,
) -> FrameResult:
    def accepted(score: float | None) -> bool | None:
        return None if accept is None or score is None else score >= accept

    points = np.zeros((5, 2), np.float32)
    tracked = tuple(
        TrackedFace(
            (10.0, 10.0, 40.0, 40.0), points, confidence, track, score, None if score is None else crop,
            accepted=accepted(score),
        )
        for track, score in faces
    )  # fmt: skip
    image = np.full((90, 160, 3), index, np.uint8)
    return FrameResult(index, index / 25, 0.0, image, "new", tracked, ended)


def run(results: list[FrameResult], **settings: object) -> list[TrackShots]:
    told: list[TrackShots] = []
    shots = BestShots(told.append, **settings)
    for one in results:
        shots.update(one)
    shots.flush()
    return told


def test_best_first_and_no_more_than_asked_for() -> None:
    (found,) = run([result(i, (1, score)) for i, score in enumerate([0.1, 0.9, 0.4, 0.8, 0.2])], count=3)
    assert [(shot.frame, shot.score) for shot in found.shots] == [(1, 0.9), (3, 0.8), (2, 0.4)]
    assert (found.track, found.final, found.first, found.last, found.faces, found.refused) == (
        1,
        True,
        0,
        4 / 25,
        5,
        {},
    )
    assert found.shots[0].picture.shape == (66, 66, 3)  # the box, and 0.4 of it on the sides that the frame has
    assert (found.shots[0].picture == 1).all()


def test_faces_with_nothing_wrong_come_first() -> None:
    """A dark face may have a high score."""
    dark = find_reasons({"darkness": make_measure("darkness", 3.0)})
    results = [result(index, (1, score)) for index, score in enumerate([0.9, 0.5, 0.8, 0.6])]
    told = [
        replace(one, faces=tuple(replace(face, reasons=dark if index in (0, 2) else ()) for face in one.faces))
        for index, one in enumerate(results)
    ]
    (found,) = run(told, count=3)
    assert [shot.score for shot in found.shots] == [0.6, 0.5, 0.9]


def test_word_comes_early_once_and_when_the_track_ends() -> None:
    told: list[TrackShots] = []
    shots = BestShots(told.append)
    for index, score in enumerate([0.5, 0.75, 0.9]):
        shots.update(result(index, (1, score), accept=0.7))
    assert [(found.final, [shot.score for shot in found.shots]) for found in told] == [(False, [0.75])]
    shots.update(result(3, (2, 0.1), ended=(1,), accept=0.7))
    assert [shot.score for shot in told[1].shots] == [0.9, 0.75]
    assert (told[1].final, told[1].faces, told[1].refused) == (True, 3, {"rejected": 1})
    shots.flush()
    shots.flush()
    assert [(found.track, found.final) for found in told] == [(1, False), (1, True), (2, True)]


def test_gates_refuse_and_say_how_often() -> None:
    results = [
        result(0, (1, None)), result(1, (1, 0.4), accept=0.5), result(2, (1, 0.9), crop=SOFT), result(3, (1, 0.6)),
        result(4, (1, 0.3), confidence=0.7),
    ]  # fmt: skip
    (found,) = run(results, min_sharpness=50)
    assert [shot.frame for shot in found.shots] == [3]
    assert found.refused == {"small": 1, "rejected": 1, "blurred": 1, "doubtful": 1}
    (found,) = run(results, rejected=True)
    assert [shot.frame for shot in found.shots] == [2, 3, 1]
    (found,) = run(results[:1])
    assert (found.shots, found.faces) == ((), 1)


@pytest.mark.parametrize(
    ("confidence", "score", "kept"),
    [(0.84, 0.34, 0), (0.84, 0.36, 1), (0.86, 0.1, 1), (0.5, 0.9, 1)],
)
def test_a_find_is_doubtful_where_the_detector_is_not_sure_and_the_score_is_low(
    confidence: float, score: float, kept: int
) -> None:
    (found,) = run([result(0, (1, score), confidence=confidence)])
    assert len(found.shots) == kept
    (found,) = run([result(0, (1, score), confidence=confidence)], doubtful=0.0)
    assert len(found.shots) == 1


def test_a_refused_face_gives_no_early_call() -> None:
    told = run([result(0, (1, 0.9), crop=SOFT, accept=0.5)], min_sharpness=50)
    assert [found.final for found in told] == [True]


def test_frames_that_were_not_scored_are_no_candidates() -> None:
    between = FrameResult(0, 0.0, 0.0, np.zeros((9, 9, 3), np.uint8), "between", result(0, (1, None)).faces)
    assert run([between]) == []


def test_memory_is_bounded() -> None:
    told = run(
        [result(index % 250, *((track, index / 500) for track in range(1, 51))) for index in range(300)], count=2
    )
    assert len(told) == 50
    assert all([shot.score for shot in found.shots] == [299 / 500, 298 / 500] for found in told)
    assert sum(shot.picture.nbytes for found in told for shot in found.shots) < 100 * 320 * 320 * 3


def test_pictures_are_small_and_own_their_pixels() -> None:
    one = result(0, (1, 0.5))
    large = FrameResult(
        0, 0.0, 0.0, np.zeros((1080, 1920, 3), np.uint8), "new",
        (TrackedFace((-50.0, -50.0, 900.0, 900.0), one.faces[0].landmarks, 0.9, 1, 0.5, SHARP),),
    )  # fmt: skip
    (found,) = run([large])
    assert max(found.shots[0].picture.shape) == 320
    assert not np.shares_memory(found.shots[0].picture, large.image)


def test_after_a_callback_has_raised_it_is_not_called_again() -> None:
    calls: list[int] = []

    def fail(found: TrackShots) -> None:
        calls.append(found.track)
        raise RuntimeError("no room")

    shots = BestShots(fail)
    shots.update(result(0, (1, 0.5), (2, 0.5)))
    with pytest.raises(RuntimeError, match="no room"):
        shots.update(result(1, ended=(1,)))
    shots.flush()
    assert calls == [1]


def test_sharpness() -> None:
    assert sharpness(SOFT) == 0
    assert sharpness(SHARP) > 300


def test_wrong_count() -> None:
    with pytest.raises(InputError, match="count is 0"):
        BestShots(print, count=0)


@pytest.mark.parametrize(
    "setting",
    [
        {"count": 0}, {"count": 1.5}, {"doubtful": float("inf")}, {"doubtful": None}, {"min_sharpness": float("nan")},
        {"min_sharpness": 10**400},
    ],
)  # fmt: skip
def test_settings_that_are_no_numbers(setting: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(setting))} is .*, wanted a"):
        BestShots(print, **setting)
