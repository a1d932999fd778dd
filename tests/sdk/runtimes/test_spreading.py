"""A single caller's face is spread over the cores; whoever calls beside others keeps one core."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from sdk import QualityScorer
from sdk.models.loading import load_model
from sdk.runtimes import onnxruntime
from sdk.runtimes.onnxruntime import ALONE, PAUSE, OnnxRuntime, _Spreading
from tests.support.tiny_models import faces


@dataclass
class Clock:
    """A clock that calls set forward."""

    now: float = 0.0
    seconds: dict[str, float] = field(default_factory=lambda: {"usual": 4.0, "spread": 2.5})

    def call(self, spreading: _Spreading, count: int = 1) -> str:
        """Make a call; return the session that it got."""
        with spreading.session("usual", count) as session:
            self.now += self.seconds[session]
        return str(session)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: made.now)
    return made


@pytest.fixture
def spreading(monkeypatch: pytest.MonkeyPatch, tiny_path: Path) -> _Spreading:
    """With a session that is a word."""
    monkeypatch.setattr(onnxruntime, "open_session", lambda *_: "spread")
    return _Spreading(load_model(tiny_path), 2)


def test_faces_of_a_single_caller_are_spread_after_a_few(spreading: _Spreading, clock: Clock) -> None:
    assert [clock.call(spreading) for _ in range(ALONE + 200)] == ["usual"] * ALONE + ["spread"] * 200


def test_batches_are_not_spread(spreading: _Spreading, clock: Clock) -> None:
    assert {clock.call(spreading, count=2) for _ in range(3 * ALONE)} == {"usual"}


def test_two_callers_are_not_spread(spreading: _Spreading, clock: Clock) -> None:
    for _ in range(3 * ALONE):
        with spreading.session("usual", 1) as one:
            assert [one, clock.call(spreading)] == ["usual", "usual"]
    assert [clock.call(spreading) for _ in range(ALONE + 1)] == ["usual"] * ALONE + ["spread"]


def test_where_other_work_has_the_cores_spreading_pauses(spreading: _Spreading, clock: Clock) -> None:
    clock.seconds["spread"] = 6.0
    # The first call of a session is not counted, the second one is too slow.
    found = [clock.call(spreading) for _ in range(ALONE + 2 + PAUSE + 1)]
    assert found == ["usual"] * ALONE + ["spread"] * 2 + ["usual"] * PAUSE + ["spread"]
    clock.seconds["spread"] = 2.5
    assert [clock.call(spreading) for _ in range(PAUSE + 50)] == ["usual"] * PAUSE + ["spread"] * 50


def test_one_slow_call_is_no_reason(spreading: _Spreading, clock: Clock) -> None:
    for _ in range(ALONE + 60):
        clock.call(spreading)
    clock.seconds["spread"] = 12.0
    clock.call(spreading)
    clock.seconds["spread"] = 2.5
    assert clock.call(spreading) == "spread"


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: os.utime(path, (1, 1))], ids=["gone", "changed"])
def test_without_the_file_faces_stay_on_one_core(
    spreading: _Spreading, clock: Clock, tiny_path: Path, harm: Callable[[Path], None]
) -> None:
    harm(tiny_path)
    assert {clock.call(spreading) for _ in range(3 * ALONE)} == {"usual"}


def test_scores_are_the_same() -> None:
    crops = faces(2 * ALONE)
    with QualityScorer(device="cpu", threads=1) as one, QualityScorer(device="cpu", threads=2) as several:
        assert [several.score(face) for face in crops] == [one.score(face) for face in crops]


def test_one_thread_is_one_core(tiny_path: Path) -> None:
    runtime = OnnxRuntime(load_model(tiny_path), "cpu", threads=1)
    assert runtime._spreading is None
    assert np.isfinite(runtime.run(faces(1))).all()
