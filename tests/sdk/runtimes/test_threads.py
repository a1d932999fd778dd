"""Threads of a scorer: a dropped scorer, `close` during calls, the end of the interpreter."""

import gc
import pickle
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sdk import DeviceError, Face, ModelError, QualityScorer, ScoreError
from sdk.models.card import METADATA_KEY
from tests.support.fake_gpu import Driver, install, write_engine
from tests.support.programs import check_program
from tests.support.tiny_models import faces, tiny_card

SETTINGS = {"plain": {}, "one thread": {"threads": 1}, "waits": {"threads": 2, "wait_ms": 3}}
IMAGE = np.full((120, 120, 3), 90, np.uint8)


class OneFace:
    """A detector that calls a function and finds a face in the middle of any image."""

    def __init__(self, call: Callable[[], object] = bool) -> None:
        self.call = call

    def detect(self, image: np.ndarray) -> list[Face]:
        self.call()
        points = np.array([(30, 40), (70, 40), (50, 60), (35, 80), (65, 80)], np.float32)
        return [Face((20, 20, 60, 80), points, 0.9)]


def test_without_threads(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with QualityScorer(tiny_path, "cpu", 2) as scorer:
        monkeypatch.setattr(threading.Thread, "start", start)
        with pytest.raises(DeviceError, match="no thread can be started"):
            scorer.score_batch(faces(20))


def threads_of_scorers() -> list[threading.Thread]:
    """Threads of fiqa, but for a download that another test gave up: it ends when its socket does."""
    names = ((thread, thread.name) for thread in threading.enumerate())
    return [thread for thread, name in names if name.startswith("fiqa-") and name != "fiqa-download"]


def wait_for_the_end_of_threads() -> None:
    end = time.monotonic() + 60
    while threads_of_scorers() and time.monotonic() < end:
        time.sleep(0.01)
    assert threads_of_scorers() == []


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("cycle", [False, True])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_dropped_scorer_is_gone(tiny_path: Path, settings: dict[str, Any], cycle: bool, used: bool) -> None:
    gc.collect()
    wait_for_the_end_of_threads()
    scorer = QualityScorer(tiny_path, "cpu", **settings)
    runtime = weakref.ref(scorer._runtime._handle._item)
    if used:
        scorer.score(faces(1)[0])
        scorer.score_batch(faces(40))
    if cycle:
        scorer.own = scorer  # type: ignore[attr-defined]
    dropped = weakref.ref(scorer)
    del scorer
    gc.collect()
    wait_for_the_end_of_threads()
    gc.collect()
    assert (dropped(), runtime()) == (None, None)


def test_dropped_by_one_of_its_own_threads(tiny_path: Path) -> None:
    held = [QualityScorer(tiny_path, "cpu", 2)]
    held[0].score_batch(faces(20))
    shared = held[0]._runtime
    runtime = shared._handle._item
    assert runtime is not None
    run = runtime.run

    def drop(batch: np.ndarray) -> np.ndarray:
        held.clear()
        gc.collect()
        return run(batch)

    runtime.run = drop  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="is closed"):
        shared.score_batch(faces(200))
    assert shared._handle._item is None
    wait_for_the_end_of_threads()


def test_a_dropped_gpu_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = install(monkeypatch, Driver())
    scorer = QualityScorer(write_engine(tmp_path), trust=True)
    scorer.score_batch(faces(9))
    del scorer
    end = time.monotonic() + 60
    while driver.held and time.monotonic() < end:
        time.sleep(0.01)
    assert not driver.held


def test_fifty_dropped_scorers_leave_nothing(tiny_path: Path) -> None:
    check_program(
        """
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6 if os.path.exists("/proc/self/statm") else 0
for number in range(60):
    scorer = QualityScorer(PATH, threads=2, wait_ms=number % 2)
    scorer.score(batch[0])
    scorer.score_batch(batch)
    del scorer
    if number == 9:
        before = resident()
gc.collect()
for _ in range(500):
    if threading.active_count() == 1:
        break
    time.sleep(0.02)
print(threading.active_count(), resident() - before < 40)
""",
        tiny_path,
        said="1 True",
    )


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("end", ["scorer.close", "[scorer.close, scorer.close]", "with scorer"])
def test_close_against_calls(tiny_path: Path, settings: dict[str, Any], end: str) -> None:
    batch = faces(200)
    expected = QualityScorer(tiny_path, "cpu").score_batch(batch)
    scorer = QualityScorer(tiny_path, "cpu", detector=OneFace(), **settings)  # type: ignore[arg-type]
    face = scorer.assess(IMAGE)[0].score
    began = threading.Barrier(9)

    def call(number: int) -> str:
        work: list[tuple[Callable[[], Any], Any]] = [
            (lambda: scorer.score(batch[5]), expected[5]),
            (lambda: scorer.score_batch(batch), expected),
            (lambda: scorer.assess(IMAGE)[0].score, face),
            (lambda: scorer.warmup() or 0, 0),
        ]
        began.wait(60)
        while True:
            try:
                np.testing.assert_allclose(work[number % 4][0](), work[number % 4][1], rtol=0, atol=1e-5)
            except ModelError as error:
                return str(error)

    with ThreadPoolExecutor(11) as pool:
        calls = [pool.submit(call, number) for number in range(8)]
        began.wait(60)
        time.sleep(0.1)
        if end == "with scorer":
            with scorer:
                pass
        else:
            for closing in [pool.submit(scorer.close) for _ in range(end.count("close"))]:
                closing.result(60)
        said = {each.result(60) for each in calls}
    assert said == {"the scorer of tiny is closed; make a new QualityScorer"}
    wait_for_the_end_of_threads()


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_close_does_not_wait_for_what_runs(tiny_path: Path, settings: dict[str, Any]) -> None:
    scorer = QualityScorer(tiny_path, "cpu", **settings)
    runtime = scorer._runtime._handle._item
    assert runtime is not None
    began, go, run = threading.Event(), threading.Event(), runtime.run

    def slow(batch: np.ndarray) -> np.ndarray:
        began.set()
        go.wait(60)
        return run(batch)

    runtime.run = slow  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(scorer.score, faces(1)[0])
        began.wait(60)
        scorer.close()
        assert not running.done()
        go.set()
        assert 0 < running.result(60) < 1
    assert scorer._runtime._handle._item is None


def test_closed_by_its_own_detector(tiny_path: Path) -> None:
    scorer = QualityScorer(tiny_path, detector=OneFace(lambda: scorer.close()))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="is closed"):
        scorer.assess(IMAGE)
    for call in (
        lambda: scorer.assess("no such file"),
        scorer.warmup,
        scorer.__enter__,
        lambda: scorer.score_batch([]),
    ):
        with pytest.raises(ModelError, match="is closed"):
            call()
    scorer.close()


@pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 3), reason="Python 3.12.0 to 3.12.2 start no thread while they end"
)
@pytest.mark.parametrize("settings", [", threads=2", ", threads=1", ", threads=2, wait_ms=5"])
@pytest.mark.parametrize("call", ["score(batch[0])", "score_batch(large)", "assess(large[0])", "warmup()"])
def test_the_end_of_python(tiny_path: Path, settings: str, call: str) -> None:
    """Daemon threads go on scoring, the scorer is not closed, and a function of `atexit` uses it once more."""
    check_program(
        f"""
import atexit
scorer = QualityScorer(PATH{settings})
large = batch.repeat(50, axis=0)
def go():
    while True:
        scorer.{call}
go_on = [threading.Thread(target=go, daemon=True) for _ in range(3)]
for thread in go_on: thread.start()
atexit.register(lambda: scorer.score_batch(batch) is None or print("scored"))
time.sleep(0.5)
""",
        tiny_path,
        said="scored",
    )


def nan_model(path: Path) -> Path:
    """Write a model that scores a face by its first value: NaN for 255, infinity for 254, else the value."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["float", "start", "end", "axes"], ["first"]),
        helper.make_node("Reshape", ["first", "shape"], ["value"]),
        helper.make_node("Greater", ["value", "limit"], ["nan"]),
        helper.make_node("Greater", ["value", "lower"], ["bad"]),
        helper.make_node("Where", ["bad", "inf", "value"], ["some"]),
        helper.make_node("Where", ["nan", "not", "some"], ["quality"]),
    ]
    constants = {
        "start": np.array([0, 0, 0]), "end": np.array([1, 1, 1]), "axes": np.array([1, 2, 3]),
        "shape": np.array([-1, 1]), "limit": np.float32(254.5), "lower": np.float32(253.5), "inf": np.float32(np.inf),
        "not": np.float32(np.nan),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "nan",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 112, 112, 3])],
        [helper.make_tensor_value_info("quality", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: tiny_card().to_json()})
    onnx.save(model, path)
    return path


def filled(*values: int) -> np.ndarray:
    return np.stack([np.full((112, 112, 3), value, np.uint8) for value in values])


def test_scores_that_are_no_numbers(tmp_path: Path) -> None:
    with QualityScorer(nan_model(tmp_path / "nan.onnx"), "cpu", 2) as scorer:
        values = [*range(64)]
        values[3], values[40] = 255, 254
        with pytest.raises(
            ScoreError, match=r"tiny in fp32 on cpu gives nan for 2 of 64 faces, first for face 3; w"
        ) as raised:
            scorer.score_batch(filled(*values))
        expected = np.array(values, np.float32)
        expected[[3, 40]] = np.nan
        for error in (raised.value, pickle.loads(pickle.dumps(raised.value))):
            assert error.scores.dtype == np.float32
            np.testing.assert_array_equal(error.scores, expected)
            assert (error.faces, str(error)) == ([], str(raised.value))
        with pytest.raises(ScoreError, match="gives inf for 1 of 1 faces") as raised:
            scorer.score(filled(254)[0])
        assert np.isnan(raised.value.scores).tolist() == [True]


def test_only_the_caller_with_the_bad_face_gets_it(tmp_path: Path) -> None:
    batch = filled(*range(20, 27), 255)

    def call(face: np.ndarray) -> float | str:
        try:
            return scorer.score(face)
        except ScoreError:
            return "bad"

    with QualityScorer(nan_model(tmp_path / "nan.onnx"), "cpu", 1, wait_ms=50) as scorer, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, batch)) == [*range(20, 27), "bad"]


def test_assess_keeps_the_good_faces(tmp_path: Path) -> None:
    class TwoFaces(OneFace):
        def detect(self, image: np.ndarray) -> list[Face]:
            face = super().detect(image)[0]
            left, right = (face.landmarks + np.float32([x, 150]) for x in (150, 550))
            return [Face(face.box, left, 0.9), Face(face.box, right, 0.8)]

    image = np.concatenate([np.full((400, 400, 3), value, np.uint8) for value in (255, 77)], 1)
    scorer = QualityScorer(nan_model(tmp_path / "nan.onnx"), detector=TwoFaces())  # type: ignore[arg-type]
    with pytest.raises(ScoreError, match="1 of 2 faces") as raised:
        scorer.assess(image)
    first, second = raised.value.faces
    assert np.isnan([first.score, *raised.value.scores[:1]]).all()
    assert (second.score, second.confidence) == (77, 0.8)
    assert second.crop.shape == (112, 112, 3)
    assert [face.confidence for face in pickle.loads(pickle.dumps(raised.value)).faces] == [0.9, 0.8]
