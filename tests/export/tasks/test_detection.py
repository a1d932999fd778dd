"""The detector's export: any size, as the network computes it, and refusals."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from export.cli import app
from export.pipeline import export_model
from export.proof.compare import failures_of
from export.tasks.detection import SIZES, DetectionSteps
from sdk import FaceDetector, ModelError
from sdk.models.card import METADATA_KEY, ModelCard
from sdk.onnx_bytes.onnx_file import check_onnx, read_metadata
from tests.support.weights import draw_tensor
from train.detector.network import FaceCells
from train.networks import save_network

FACTS = '{"licence": "Apache-2.0", "training_data": "none: random weights"}'


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = FaceCells()
    state = network.state_dict()
    drawn = {
        key: torch.from_numpy(draw_tensor(key, tuple(v.shape))) for key, v in state.items() if v.is_floating_point()
    }
    network.load_state_dict({**state, **drawn})
    path = tmp_path_factory.mktemp("detector") / "weights.safetensors"
    save_network(network, path, {METADATA_KEY: FACTS})
    return path


@pytest.fixture(scope="module")
def exported(weights: Path) -> Path:
    return export_model("fiqa-detector", weights, weights.parent / "out").path


def test_file(exported: Path) -> None:
    data = exported.read_bytes()
    model = onnx.load_from_string(data)
    check_onnx(data)
    assert len(data) < 600_000
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 20)]
    assert model.ir_version == 9
    assert sum(np.prod(tensor.dims) for tensor in model.graph.initializer) < 120_000
    card = ModelCard.from_json(read_metadata(data)[METADATA_KEY])
    assert (card.task, card.variant, card.output, card.licence) == ("detection", "fiqa-detector", "cells", "Apache-2.0")
    assert (card.input.height, card.input.width, card.input.dtype, card.input.layout) == (0, 0, "uint8", "NHWC")
    assert len(card.verification) == len(SIZES)
    assert max(card.verification.values()) < 1e-4


@pytest.mark.parametrize("size", [(32, 32), (31, 65), (200, 100), (1, 1)])
def test_any_size_and_batch(exported: Path, size: tuple[int, int]) -> None:
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    pictures = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    (together,) = session.run(None, {"images": pictures})
    rows, columns = (-(-side // 32) for side in size)
    assert together.shape == (3, rows * columns * (16 + 4 + 1), 15)
    for picture, values in zip(pictures, together, strict=True):
        np.testing.assert_allclose(session.run(None, {"images": picture[None]})[0][0], values, atol=1e-5)


def test_it_runs_in_the_sdk(exported: Path) -> None:
    assert isinstance(FaceDetector(exported).detect(np.full((90, 120, 3), 80, np.uint8)), list)


def test_same_weights_same_bytes(weights: Path, exported: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--model", "fiqa-detector", "--weights", str(weights), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "fiqa-detector.onnx").read_bytes() == exported.read_bytes()


def test_refusals(exported: Path, tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["--model", "fiqa-detector"]).exit_code == 2
    save_network(torch.nn.Linear(2, 2), tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=r"cannot load .*other\.safetensors as fiqa-detector: .* missing keys"):
        export_model("fiqa-detector", tmp_path / "other.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_network_is_told_apart(exported: Path, tmp_path: Path) -> None:
    save_network(FaceCells(), tmp_path / "fresh.safetensors")
    steps = DetectionSteps()
    images, fresh = steps.read_images(None), steps.load_source("fiqa-detector", tmp_path / "fresh.safetensors")
    expected = [fresh.reference(part) for part in images]
    card = ModelCard.from_json(read_metadata(exported.read_bytes())[METADATA_KEY])
    failures = failures_of(steps.compare(exported, card, images, expected), "fp32")
    assert failures[0].startswith("onnxruntime, 96 x 64: largest difference ")
