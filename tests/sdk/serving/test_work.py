"""The threads of the service: what nobody waits for is skipped, and large pictures are taken fewer together."""

import gc
import threading
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("fastapi", reason="needs the extra serve")

from sdk.errors import ModelError
from sdk.results import Face
from sdk.serving import work as module
from sdk.serving.problems import Problem
from sdk.serving.work import Picture, Work

GREY = cv2.imencode(".png", np.full((112, 112, 3), 128, np.uint8))[1].tobytes()
LANDMARKS = np.array([[38, 51], [73, 51], [56, 71], [41, 92], [70, 92]], np.float32)


class Steps:
    """A scorer and a detector that count their calls. One kind of step stops until it is let go."""

    threads, max_pixels, max_bytes = 1, 1 << 20, 1 << 20

    def __init__(self) -> None:
        self.done: list[str] = []
        self.stop_at, self.faces = "", 1
        self.there, self.go = threading.Event(), threading.Event()

    def do(self, step: str) -> None:
        self.done.append(step)
        if step.partition(" ")[0] == self.stop_at:
            self.there.set()
            assert self.go.wait(30)

    def detect(self, pixels: NDArray[np.uint8]) -> list[Face]:
        self.do("detect")
        return [Face((20, 20, 70, 90), LANDMARKS, 0.9)] * self.faces

    def score_batch(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.do(f"score {len(crops)}")
        return np.full(len(crops), 0.5, np.float32)

    def decide(self, score: float) -> tuple[None, None]:
        return None, None


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    made, load = Steps(), module.load_image

    def decode(*arguments: object, **options: object) -> object:
        made.do("decode")
        return load(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "load_image", decode)
    monkeypatch.setattr(module, "available_cores", lambda: 1)
    return made


@pytest.fixture
def work(steps: Steps) -> Iterator[Work]:
    """One thread, and room for eight pictures."""
    made = Work(steps, steps, 8)  # type: ignore[arg-type]
    yield made
    steps.go.set()
    assert made.close()


def pictures(count: int, name: str = "", aligned: bool = False) -> list[Picture]:
    return [Picture(name, GREY, aligned) for _ in range(count)]


def test_an_answer_has_all_pictures_in_their_order(work: Work) -> None:
    found = work.submit([Picture("a", GREY), Picture("b", b"text"), Picture("c", GREY, True)]).result(30)
    assert [one[0].path.name if isinstance(one, list) else str(one)[:20] for one in found] == [
        "a",
        "this is not an image",
        "c",
    ]
    assert [one[0].score for one in found if isinstance(one, list)] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("step", "count", "done"),
    [
        ("decode", 6, ["decode"]),
        ("detect", 6, ["decode", "detect"]),
        ("score", 1, ["decode", "detect", "score 2"]),
    ],
)
def test_an_abandoned_request_ends_after_the_step_that_runs(
    work: Work, steps: Steps, step: str, count: int, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FACES", 2)
    monkeypatch.setattr(module, "TAKING_SECONDS", 60)
    steps.stop_at, steps.faces = step, 5
    answer = work.submit(pictures(count))
    assert steps.there.wait(30)
    assert answer.cancel()
    assert work.inside == 1  # those that wait have left the queue; the one of the step has not
    steps.stop_at = ""
    steps.go.set()
    (found,) = work.submit(pictures(1, aligned=True)).result(30)
    assert isinstance(found, list)
    assert found[0].score == 0.5
    assert steps.done == [*done, "decode", "score 1"]
    assert work.inside == 0


def test_an_abandoned_picture_among_others_costs_no_step(work: Work, steps: Steps) -> None:
    steps.stop_at = "decode"
    first = work.submit(pictures(1, aligned=True))
    assert steps.there.wait(30)
    left, stays = work.submit(pictures(3, "left")), work.submit(pictures(1, aligned=True))
    left.cancel()
    assert [one for one in gc.get_objects() if isinstance(one, Picture) and one.name == "left"] == []
    assert work.inside == 2
    steps.go.set()
    assert len(first.result(30)) == len(stays.result(30)) == 1
    assert "detect" not in steps.done
    assert steps.done.count("decode") == 2


@pytest.mark.parametrize(("seconds", "sizes"), [(60, ["score 1", "score 3"]), (0, ["score 1"] * 4)])
def test_a_thread_that_took_long_takes_no_further_picture(
    work: Work, steps: Steps, seconds: float, sizes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TAKING_SECONDS", seconds)
    steps.stop_at = "score"
    first = work.submit(pictures(1, aligned=True))
    assert steps.there.wait(30)
    others = work.submit(pictures(3, aligned=True))
    steps.go.set()
    assert len([*first.result(30), *others.result(30)]) == 4
    assert [step for step in steps.done if step.startswith("score")] == sizes


def test_a_failure_reaches_the_request_and_leaves_the_queue_empty(
    work: Work, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(step: str) -> None:
        raise ModelError("broken")

    monkeypatch.setattr(steps, "do", fail)
    with pytest.raises(ModelError, match="broken"):
        work.submit(pictures(3)).result(30)
    assert work.inside == 0
    work.close()
    with pytest.raises(ModelError, match="stopping"):
        work.submit(pictures(3))
    assert work.inside == 0


def test_a_full_queue_is_refused_until_a_client_leaves(work: Work, steps: Steps) -> None:
    steps.stop_at = "decode"
    first = work.submit(pictures(1, aligned=True))
    assert steps.there.wait(30)
    waits = work.submit(pictures(7, aligned=True))
    with pytest.raises(Problem, match="8 pictures wait already"):
        work.submit(pictures(1))
    waits.cancel()
    last = work.submit(pictures(7, aligned=True))
    steps.go.set()
    assert [len(one.result(30)) for one in (first, last)] == [1, 7]


def test_a_thread_in_native_code_is_told(work: Work, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "END_SECONDS", 0.01)
    steps.stop_at = "decode"
    work.submit(pictures(1))
    assert steps.there.wait(30)
    assert not work.close()
    monkeypatch.setattr(module, "END_SECONDS", 30)
    steps.go.set()
    assert work.close()
