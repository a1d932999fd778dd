"""Scorers and detectors in forked processes, and pickled ones in other processes."""

import copy
import importlib.util
import multiprocessing
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from sdk import DeviceError, FaceDetector, InputError, ModelError, QualityScorer
from sdk.parallel import bounded_map
from tests.support.fake_gpu import Driver, install, write_engine
from tests.support.programs import check_program
from tests.support.tiny_models import faces

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

SETTINGS = {
    "plain": "",
    "one thread": ", threads=1",
    "waits": ", threads=2, wait_ms=5",
}

OPENVINO = ", device='openvino', threads=2"

CALLS = """
PHOTO = np.zeros((480, 640, 3), np.uint8)
expected = scorer.score_batch(batch)

def calls():
    assert abs(scorer.score(batch[7]) - expected[7]) < 1e-5
    assert np.allclose(scorer.score_batch(batch), expected, atol=1e-5)
    scorer.warmup()
    assert scorer.assess(PHOTO) == []
    assert len(scorer.score_batch([])) == 0

def all_calls():
    calls()
    scorer.close()
    for call in (lambda: scorer.score(batch[0]), lambda: scorer.score_batch(batch), scorer.warmup,
                 lambda: scorer.assess(PHOTO), scorer.__enter__):
        try:
            call()
        except ModelError:
            continue
        return "not closed"
"""


def scorer(settings: str) -> str:
    """Return the first lines of a program with a scorer; skip the test if the device is missing."""
    if "openvino" in settings and importlib.util.find_spec("openvino") is None:
        pytest.skip("needs the extra openvino")
    return f"scorer = QualityScorer(PATH{settings})\n" + CALLS


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_all_calls_in_a_child_and_its_child(tiny_path: Path, settings: str) -> None:
    check_program(
        scorer(settings)
        + """
calls()
def child():
    return in_child(all_calls) == 0 and all_calls()
print(in_child(child), in_child(all_calls))
calls()
""",
        tiny_path,
        said="0 0",
    )


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_fork_while_other_threads_score(tiny_path: Path, settings: str) -> None:
    check_program(
        scorer(settings)
        + """
end = False
def go(call):
    while not end:
        call()
threads = [threading.Thread(target=go, args=(call,)) for call in (
    lambda: scorer.score(batch[0]), lambda: scorer.score_batch(batch), lambda: scorer.assess(PHOTO))]
for thread in threads: thread.start()
print([in_child(all_calls) for _ in range(4)])
end = True
for thread in threads: thread.join()
""",
        tiny_path,
        said="[0, 0, 0, 0]",
    )


@pytest.mark.parametrize("settings", [*SETTINGS.values(), OPENVINO], ids=[*SETTINGS, "openvino"])
def test_a_child_that_drops_it(tiny_path: Path, settings: str) -> None:
    """An inherited object is not freed, because that may wait for threads of the parent."""
    check_program(
        scorer(settings)
        + """
held = [scorer]
del scorer
def child():
    held.clear()
    gc.collect()
print(in_child(child))
""",
        tiny_path,
        said="0",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")
def test_a_child_that_leaves_by_sys_exit_ends_with_its_code(tiny_path: Path) -> None:
    check_program(
        scorer("")
        + """
for code in (0, 7):
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        scorer.score(batch[0])
        print("bye", code)
        sys.exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
""",
        tiny_path,
        said="bye 0\n0\nbye 7\n7",
    )


@pytest.mark.parametrize("wait", [0, 5])
def test_openvino_does_not_survive_a_fork(tiny_path: Path, wait: int) -> None:
    check_program(
        scorer(f"{OPENVINO}, wait_ms={wait}")
        + """
def go():
    while not end:
        calls()
end = False
thread = threading.Thread(target=go)
thread.start()
def child():
    refused = 0
    for call in (lambda: scorer.score(batch[0]), lambda: scorer.score_batch(batch), scorer.warmup,
                 lambda: scorer.assess(PHOTO), lambda: pickle.dumps(scorer)):
        try:
            call()
        except DeviceError as error:
            refused += "make the scorer in the new process" in str(error)
    scorer.close()
    return refused == 5
print([in_child(child) for _ in range(4)])
end = True
thread.join()
""",
        tiny_path,
        said="[0, 0, 0, 0]",
    )


def test_a_closed_scorer_is_closed_in_a_child(tiny_path: Path) -> None:
    check_program(
        scorer("")
        + """
scorer.close()
def child():
    try:
        scorer.score(batch[0])
    except ModelError as error:
        return "is closed" in str(error)
print(in_child(child))
""",
        tiny_path,
        said="0",
    )


def test_a_model_that_is_gone_in_a_child(tiny_path: Path) -> None:
    check_program(
        scorer(", threads=2")
        + """
os.remove(PATH)
def child():
    for call in (lambda: scorer.score(batch[0]), lambda: scorer.score_batch(batch), scorer.warmup):
        try:
            call()
        except ModelError:
            continue
        return "no error"
print(in_child(child))
calls()
""",
        tiny_path,
        said="0",
    )


def test_a_relative_path_after_the_folder_has_changed(tiny_path: Path) -> None:
    check_program(
        "os.chdir(os.path.dirname(PATH)); PATH = os.path.basename(PATH)\n"
        + scorer("")
        + "os.chdir('/')\nprint(in_child(all_calls)); print(pickle.loads(pickle.dumps(scorer)).card.name)",
        tiny_path,
        said="0\ntiny",
    )


@pytest.mark.parametrize("busy", [False, True])
def test_a_detector_in_a_child(tiny_path: Path, busy: bool) -> None:
    check_program(
        f"""
detector = FaceDetector()
picture = np.random.default_rng(5).integers(0, 256, (900, 1300, 3), np.uint8)
found = len(detector.detect(picture))
def go():
    while not end:
        detector.detect(picture)
end = False
thread = threading.Thread(target=go)
if {busy}: thread.start()
def child():
    return len(detector.detect(picture)) == found and in_child(lambda: len(detector.detect(picture)) == found) == 0
print([in_child(child) for _ in range(3)])
end = True
""",
        tiny_path,
        said="[0, 0, 0]",
    )


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_take_a_scorer(tiny_path: Path, method: str) -> None:
    with QualityScorer(tiny_path, threads=2, wait_ms=2) as scorer:
        expected = scorer.score_batch(faces(20))
        with multiprocessing.get_context(method).Pool(2) as pool:
            parts = pool.map_async(scorer.score_batch, [faces(20)[:10], faces(20)[10:]]).get(100)
        np.testing.assert_allclose(np.concatenate(parts), expected, rtol=0, atol=1e-5)


def test_copies(tiny_path: Path) -> None:
    with QualityScorer(tiny_path, "cpu", 3, wait_ms=1, detector=FaceDetector(passes=[320]), max_pixels=777) as scorer:
        expected = scorer.score_batch(faces(5))
        for same in (pickle.loads(pickle.dumps(scorer)), copy.copy(scorer), copy.deepcopy(scorer)):
            assert same._settings.keys() == scorer._settings.keys()
            assert (same.threads, same.device, same._settings["max_pixels"]) == (3, "cpu", 777)
            assert same._detector._settings == scorer._detector._settings  # type: ignore[union-attr]
            same.close()
        np.testing.assert_array_equal(scorer.score_batch(faces(5)), expected)


def test_pickles_that_are_refused(tiny_path: Path) -> None:
    scorer = QualityScorer(tiny_path)
    pickled = pickle.dumps(scorer)
    scorer.close()
    for refused in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(ModelError, match="is closed"):
            refused(scorer)
    tiny_path.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        pickle.loads(pickled)


def test_a_relative_path_in_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ModelError, match="give a full path"):
        QualityScorer("tiny.onnx")
    with pytest.raises(InputError, match="model is None"):
        FaceDetector(None)  # type: ignore[arg-type]


def exit_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_gpu_does_not_survive_a_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Driver())
    with QualityScorer(write_engine(tmp_path), trust=True) as scorer:
        scorer.score_batch(faces(20))
        pid = os.fork()
        if pid == 0:
            refused = 0
            image = np.zeros((64, 64, 3), np.uint8)
            for call in (scorer.warmup, lambda: scorer.score(faces(1)[0]), lambda: scorer.score_batch(faces(9)),
                         lambda: scorer.assess(image)):  # fmt: skip
                try:
                    call()
                except DeviceError as error:
                    refused += "make the scorer in the new process" in str(error)
            scorer.close()
            os._exit(refused)
        assert exit_of(pid) == 4
        assert len(scorer.score_batch(faces(20))) == 20


def test_work_that_began_before_a_fork() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        results = bounded_map(pool, abs, range(100), 5)
        assert next(results) == 0
        pid = os.fork()
        if pid == 0:
            try:
                list(results)
            except DeviceError:
                os._exit(7)
            os._exit(0)
        assert exit_of(pid) == 7
        assert list(results) == [*range(1, 100)]
