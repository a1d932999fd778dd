"""The file of a calibration, and what it says of a score."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from sdk.decision.calibration import Calibration, Threshold, read_calibration
from sdk.errors import InputError

ENROL = Threshold("enrol", "fnmr", 0.01, 0.6, 0.5, 0.65, 0.1, 0.2)
LENIENT = Threshold("identify", "fnmr", 0.05, 0.6, 0.4, 0.6, 0.05, 0.1)
CALIBRATION = Calibration(
    "nano", "ab" * 32, "judge", fmr=1e-3, judge_threshold=0.3, people=20, images=50, comparisons=100, errors=12,
    scores=(0.2, 0.4, 0.8), rates=(0.5, 0.9, 0.99), thresholds=(ENROL,), undecided=("identify: too few",),
)  # fmt: skip


def test_quality_is_the_match_rate_between_the_points_and_level_beyond() -> None:
    assert [CALIBRATION.quality(score) for score in (-1, 0.2, 0.3, 0.4, 0.6, 0.8, 2)] == [50, 50, 70, 90, 94, 99, 99]
    np.testing.assert_allclose(CALIBRATION.match_rates([[0.3], [0.6]]), [[0.7], [0.945]])


def test_no_curve_or_no_number_gives_no_quality() -> None:
    assert CALIBRATION.quality(float("nan")) is None
    assert Calibration("nano", thresholds=(ENROL,)).quality(0.5) is None


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    CALIBRATION.write(tmp_path / "c.json")
    assert read_calibration(tmp_path / "c.json") == CALIBRATION


def test_an_operating_point_that_is_not_there_says_why() -> None:
    assert CALIBRATION.threshold("enrol") is ENROL
    with pytest.raises(InputError, match="no point 'identify', it has: enrol; identify: too few; give a score"):
        CALIBRATION.threshold("identify")


def test_a_calibration_of_another_model_is_refused() -> None:
    CALIBRATION.check_model("nano", "ab" * 32)
    for name, sha256 in (("tiny", "ab" * 32), ("nano", "cd" * 32)):
        with pytest.raises(InputError, match="scores of two models cannot be compared"):
            CALIBRATION.check_model(name, sha256)
    Calibration("nano", scores=(0.0, 1.0), rates=(0.0, 1.0)).check_model("nano", "ab" * 32)  # a part of the card


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scores": [0.4, 0.2, 0.8]}, "rising numbers"),
        ({"rates": [0.9, 0.5, 0.99]}, "never fall"),
        ({"rates": [0.5, 0.9, 1.2]}, "shares from 0 to 1"),
        ({"scores": [0.2, 0.4]}, "2 scores and 3 rates"),
        ({"scores": list(range(65)), "rates": [0.5] * 65}, "65 points"),
        ({"scores": [0.2, float("nan"), 0.8]}, "scores of a calibration"),
        ({"people": -1}, "people of a calibration is -1"),
        ({"fmr": "low"}, "fmr of a calibration is 'low'"),
        ({"colour": "red"}, "some of: model, model_sha256"),
        ({"model": ""}, "the name of a model"),
        ({"thresholds": [{"name": "enrol"}]}, "lacks a field"),
        ({"judge_threshold": 10**400}, "judge_threshold of a calibration is 1000"),
        ({"thresholds": [asdict(ENROL) | {"target": 10**400}]}, "target of a threshold of a calibration is 1000"),
        ({"scores": [0.2, 0.4, 10**400]}, "scores of a calibration"),
        ({"thresholds": [asdict(ENROL), asdict(LENIENT) | {"score": 0.61, "high": 0.61}]}, "the strict one last"),
        ({"errors": 101}, "errors of a calibration is 101, wanted at most the number of comparisons, 100"),
        ({"people": 51}, "people of a calibration is 51, wanted at most the number of images, 50"),
        ({"fmr": 0}, "fmr of a calibration is 0, wanted a share above 0 and below 1"),
        ({"fmr": 1.0}, r"fmr of a calibration is 1\.0, wanted a share above 0 and below 1"),
        ({"fiqa_calibration": True}, "is a calibration of version True, wanted 1"),
        ({"fiqa_calibration": 1.0}, r"is a calibration of version 1\.0, wanted 1"),
        ({"model_sha256": ""}, "has no model_sha256, so it could be of any model of the name nano"),
        ({"model_sha256": "AB" * 32}, "model_sha256 of a calibration is 'ABAB"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"fiqa_calibration": 1, **CALIBRATION.to_dict(), **change}))
    with pytest.raises(InputError, match=words) as caught:
        read_calibration(path)
    assert str(path) in str(caught.value)


def test_both_points_may_have_the_same_score() -> None:
    assert Calibration("nano", thresholds=(LENIENT, ENROL)).threshold("identify").score == ENROL.score


def test_limits_out_of_order_are_refused() -> None:
    with pytest.raises(InputError, match="wanted them in order"):
        Threshold("enrol", "fnmr", 0.01, 0.6, 0.7, 0.65, 0.1)
    with pytest.raises(InputError, match="each name once"):
        Calibration("nano", thresholds=(ENROL, ENROL))


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "is not JSON"), ("[]", "is no calibration"), ("{}", "is no calibration"),
     ('{"fiqa_calibration": 2}', "of version 2, wanted 1")],
)  # fmt: skip
def test_what_is_no_calibration_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_calibration(path)
    with pytest.raises(InputError, match=r"none\.json"):
        read_calibration(tmp_path / "none.json")
