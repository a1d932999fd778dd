"""Files for OpenCV DNN."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from export.cli import app
from export.opencv import export_for_opencv
from sdk import QualityScorer
from sdk.errors import InputError, ModelError
from sdk.models.loading import load_model
from tests.support.tiny_models import tiny_card, tiny_model

READ_BY_4_6 = {
    "Add", "Clip", "Concat", "Conv", "Div", "Erf", "Exp", "Gemm", "Mul", "Relu", "Reshape", "Resize", "Sigmoid",
    "Slice", "Sub", "Transpose",
}  # fmt: skip
"""Operators in which OpenCV 4.6 read both files; the C++ example runs them there."""


@pytest.mark.parametrize(("name", "shape"), [("fiqa-nano", (1, 112, 112, 3)), ("fiqa-detector", (1, 256, 256, 3))])
def test_opencv_gives_the_values_of_onnxruntime(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    written = export_for_opencv(name, tmp_path / "file.onnx", 256)
    assert written.shape == shape
    assert written.difference < 1e-5
    model = onnx.load(written.path)
    assert {node.op_type for node in model.graph.node} <= READ_BY_4_6
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 10)]
    picture = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    network = cv2.dnn.readNetFromONNX(str(written.path))
    network.setInput(picture.astype(np.float32))
    import onnxruntime

    session = onnxruntime.InferenceSession(load_model(name).data, providers=["CPUExecutionProvider"])
    wanted = session.run(None, {session.get_inputs()[0].name: picture})[0]
    np.testing.assert_allclose(np.asarray(network.forward()), wanted, atol=1e-4, rtol=1e-4)


def test_the_sdk_scores_with_the_file(tmp_path: Path) -> None:
    written = export_for_opencv("fiqa-nano", tmp_path / "file.onnx")
    faces = np.random.default_rng(2).integers(0, 256, (2, 112, 112, 3), np.uint8)
    with QualityScorer(written.path, "cpu", threads=1) as found, QualityScorer(device="cpu", threads=1) as wanted:
        np.testing.assert_allclose(found.score_batch(faces), wanted.score_batch(faces), atol=1e-5)


def test_wrong_side(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the side is 500, wanted a multiple of 32"):
        export_for_opencv("fiqa-detector", tmp_path / "file.onnx", 500)


def test_a_file_with_another_input(tmp_path: Path) -> None:
    spec = {"colour": "RGB", "layout": "NCHW", "dtype": "float32"}
    onnx.save(tiny_model(tiny_card(input=spec), uint8=False), tmp_path / "float.onnx")
    with pytest.raises(ModelError, match="takes no uint8 pictures; export it first"):
        export_for_opencv(tmp_path / "float.onnx", tmp_path / "file.onnx")


def test_command(tmp_path: Path) -> None:
    out = tmp_path / "nano.onnx"
    done = CliRunner().invoke(app, ["opencv", "fiqa-nano", "--out", str(out)])
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{out}: pictures of 112 x 112; largest difference from fiqa-nano ")
    assert out.is_file()
    done = CliRunner().invoke(app, ["opencv", "fiqa-nano", "--out", str(tmp_path / "nano.txt")])
    assert done.exit_code == 2
