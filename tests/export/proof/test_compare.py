"""The proof itself: it must be able to fail."""

import os
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.exported import Exported
from export.graph.front_end import INPUT, OUTPUT, QUALITY_ENDS
from export.proof import compare as verify
from export.proof import runtimes
from export.proof.crops import calibration_faces, verification_faces
from export.proof.form import check_form
from sdk import InputError, ModelError
from sdk.alignment import align
from sdk.images.decoding import load_image

ROOT = Path(__file__).parents[3]
ZEROS = np.zeros(34, np.float32)


@pytest.fixture
def one_runtime(monkeypatch: pytest.MonkeyPatch) -> list[NDArray[np.float32]]:
    """Replace the runtimes by one that gives what the test puts into this list."""
    given: list[NDArray[np.float32]] = []
    monkeypatch.setattr(verify, "scores_apart", lambda *_: given)
    return given


def test_agreement_by_batch(one_runtime: list[NDArray[np.float32]], faces: NDArray[np.uint8]) -> None:
    one_runtime += [ZEROS, ZEROS + 1e-5, ZEROS - 9.96e-5]
    found = verify.compare(Path("file"), faces, ZEROS, ("fake",))
    figures = verify.figures(found)
    assert figures == {
        "fake, batch 1": 0.0, "fake, batch 3": 1e-5, "fake, batch 16": 1e-4,
        "mean": 1e-4, "shift": -1e-4, "spearman": 0.0,
    }  # fmt: skip
    assert verify.failures_of(found, "fp32") == ()


@pytest.mark.parametrize("wrong", [1.02e-4, -0.5, np.nan, np.inf])
def test_one_wrong_score_fails(wrong: float, one_runtime: list[NDArray[np.float32]], faces: NDArray[np.uint8]) -> None:
    bad = ZEROS.copy()
    bad[7] = wrong
    one_runtime += [ZEROS, bad, bad]
    failures = verify.failures_of(verify.compare(Path("file"), faces, ZEROS, ("fake",)), "fp32")
    assert len(failures) == 1
    assert failures[0].startswith("fake, batch 3: ")


def test_batches_hold_every_face(faces: NDArray[np.uint8]) -> None:
    seen: list[int] = []

    def count(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(len(batch))
        return batch[:, 0, 0, :1].astype(np.float32)

    for scores in runtimes._in_batches(faces, count):
        np.testing.assert_array_equal(scores, faces[:, 0, 0, 0])
    assert seen == [1] * 34 + [3] * 11 + [1, 16, 16, 2]


def test_a_crash_is_an_error(monkeypatch: pytest.MonkeyPatch, faces: NDArray[np.uint8]) -> None:
    monkeypatch.setattr(runtimes, "WORKER", ("-c", "import os; os.abort()"))
    with pytest.raises(ModelError, match="OpenCV DNN crashed"):
        verify.compare(Path("file"), faces, ZEROS, ("OpenCV DNN",))


@pytest.mark.parametrize(
    ("runtime", "error", "words"),
    [
        ("OpenCV DNN", ModelError, "OpenCV DNN refuses the exported file"),
        ("onnxruntime", ModelError, "onnxruntime refuses the exported file"),
        ("fiqa", ModelError, "not an ONNX file"),
    ],
)
def test_what_a_runtime_refuses_is_an_error(
    runtime: str, error: type[Exception], words: str, tmp_path: Path, faces: NDArray[np.uint8]
) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(error, match=words):
        runtimes.scores_apart(runtime, tmp_path / "bad.onnx", faces)


@pytest.mark.parametrize(
    ("opset", "ir_version", "kind", "output", "message"),
    [
        (18, 9, TensorProto.UINT8, OUTPUT, r"operator sets: \{'': 18\}, wanted \{'': 20\}"),
        (20, 10, TensorProto.UINT8, OUTPUT, "IR version: 10, wanted 9"),
        (20, 9, TensorProto.FLOAT, OUTPUT, "input"),
        (20, 9, TensorProto.UINT8, "score", "output"),
    ],
)
def test_form_is_read_back(opset: int, ir_version: int, kind: int, output: str, message: str, tmp_path: Path) -> None:
    faces = helper.make_tensor_value_info(INPUT, kind, ["batch", 112, 112, 3])
    quality = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 1])
    graph = helper.make_graph([helper.make_node("Relu", [INPUT], [output])], "any", [faces], [quality])
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=ir_version), tmp_path / "file.onnx")
    with pytest.raises(ModelError, match=message):
        check_form(tmp_path / "file.onnx", QUALITY_ENDS)


def test_an_exported_file_has_the_right_form(exported: dict[str, Exported]) -> None:
    for result in exported.values():
        check_form(result.path, QUALITY_ENDS)


def test_the_packaged_face_is_the_astronaut(faces: NDArray[np.uint8]) -> None:
    assert faces.shape == (34, 112, 112, 3)
    assert len(np.unique(faces.reshape(34, -1), axis=0)) == 34
    # Landmarks as YuNet finds them at 1024 pixels.
    landmarks = [(201.74, 104.98), (245.29, 105.35), (220.66, 126.84), (203.66, 144.84), (241.99, 144.98)]
    crop = align(load_image(ROOT / "examples/media/astronaut.jpg"), landmarks)
    assert np.abs(crop.astype(int) - faces[0]).max() <= 2


def test_own_faces(tmp_path: Path, faces: NDArray[np.uint8]) -> None:
    folder = tmp_path / "faces"
    with pytest.raises(InputError, match="no folder"):
        verification_faces(folder)
    folder.mkdir()
    for index, face in enumerate(faces[:15]):
        cv2.imwrite(str(folder / f"{index:02}.png"), face)
    with pytest.raises(InputError, match="holds 15 faces, wanted at least 16"):
        verification_faces(folder)
    cv2.imwrite(str(folder / "15.png"), faces[15])
    np.testing.assert_array_equal(verification_faces(folder), faces[:16])
    cv2.imwrite(str(folder / "16.png"), faces[0][:100])
    with pytest.raises(InputError, match=r"16\.png is \(100, 112, 3\), wanted aligned crops"):
        verification_faces(folder)


def test_images_without_a_face(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for index in range(16):
        cv2.imwrite(str(tmp_path / f"{index:02}.png"), draw.integers(0, 256, (112, 112, 3), np.uint8))
    for read, option in ((verification_faces, "--faces"), (calibration_faces, "--calibration")):
        words = rf"a face is found in \d% of the images of .*, wanted at least 25%; give {option} a"
        with pytest.raises(InputError, match=words):
            read(tmp_path)


def test_the_users_cache_stays_as_it_was(
    tmp_path: Path, exported: dict[str, Exported], faces: NDArray[np.uint8]
) -> None:
    file = tmp_path / "draft" / "file.onnx"
    file.parent.mkdir()
    file.write_bytes(exported[".pth"].path.read_bytes())
    assert len(runtimes.scores_apart("fiqa", file, faces)) == 3
    assert (file.parent / "rewritten").is_dir()
    assert not Path(os.environ["FIQA_CACHE"]).exists()
