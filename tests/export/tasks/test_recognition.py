"""Face-recognition models with embedding and quality from one pass."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from typer.testing import CliRunner

from export.cli import app
from export.pipeline import export_recognition
from export.tasks.recognition import FaceRecognition
from sdk import InputError, ModelError, QualityScorer
from sdk.calibrating.judge import Judge
from tests.support.tiny_models import recognition_model, tiny_model
from train.labelling.embedder import Embedder
from train.methods.froq import FROQLabeller
from train.networks.recognition import fingerprint, load_recognition_model

Faces = NDArray[np.uint8]


def own_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.ReLU(), nn.AvgPool2d(9), nn.Flatten(), nn.Linear(36, 8)).eval()


def not_traceable() -> nn.Module:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3)) if x.mean() > 0 else x.amax((2, 3))

    return Odd()


def chosen(path: Path, model: str, *layers: str) -> Path:
    """A file of layers, as `fiqa-train label froq` writes it."""
    path.write_text(json.dumps({"weights": fingerprint(load_recognition_model(model)), "layers": layers}))
    return path


@pytest.fixture
def fr(tmp_path: Path) -> str:
    """An FR model for one face a call, as many files are."""
    (tmp_path / "fr.onnx").write_bytes(recognition_model(batch=1).SerializeToString())
    return str(tmp_path / "fr.onnx")


def test_length_of_the_embedding_by_the_command(fr: str, tmp_path: Path, faces: Faces) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["recognition", fr, "--mean", "0.4,0.5,0.6", "--out", str(out)])
    assert result.exit_code == 0, result.output
    path = out / "fr-norm.onnx"
    labeller = Embedder(load_recognition_model(fr, mean=(0.4, 0.5, 0.6), gradients=False))
    wanted = labeller(faces, [""] * len(faces))
    with QualityScorer(path, "cpu") as scorer:
        np.testing.assert_allclose(scorer.score_batch(faces), wanted["norm"], rtol=1e-5)
        assert scorer.card.summary == "fr.onnx, with its quality: the length of the embedding"
    np.testing.assert_allclose(Judge(path).embed(faces), wanted["embedding"], rtol=1e-4, atol=1e-4)
    assert [value.name for value in onnx.load(path).graph.output] == ["quality", "embedding"]
    assert (out / "NOTICE.txt").exists()


@pytest.mark.parametrize("layers", [("network",), ("network.layers.layer0", "network.layers.layer1", "network")])
def test_froq_of_a_file(layers: tuple[str, ...], fr: str, tmp_path: Path, faces: Faces) -> None:
    file = chosen(tmp_path / "froq.json", fr, *layers)
    exported = export_recognition(FaceRecognition(fr, layers=file), tmp_path / "out")
    assert (exported.path.name, exported.card.proven) == ("fr-froq.onnx", True)
    wanted = FROQLabeller(load_recognition_model(fr), layers)(faces, [""] * len(faces))["froq"]
    with QualityScorer(exported.path, "cpu") as scorer:
        np.testing.assert_allclose(scorer.score_batch(faces), wanted, rtol=1e-5)


def test_froq_of_a_network_of_torch(tmp_path: Path, faces: Faces) -> None:
    name = f"{__name__}:own_network"
    file = chosen(tmp_path / "froq.json", name, "network.0", "network.4")
    exported = export_recognition(FaceRecognition(name, layers=file), tmp_path / "out")
    wanted = FROQLabeller(load_recognition_model(name), ["network.0", "network.4"])(faces, [""] * len(faces))["froq"]
    with QualityScorer(exported.path, "cpu") as scorer:
        np.testing.assert_allclose(scorer.score_batch(faces), wanted, rtol=1e-5)
    assert exported.card.score_range[0] < exported.card.score_range[1]
    assert len(exported.card.source_sha256) == 64


def test_what_cannot_be_exported(fr: str, tmp_path: Path) -> None:
    file = chosen(tmp_path / "froq.json", f"{__name__}:own_network", "network.0")
    with pytest.raises(InputError, match="is of another model"):
        export_recognition(FaceRecognition(fr, layers=file), tmp_path / "out")
    with pytest.raises(ModelError, match=r"takes faces as BGR NCHW float32 112 112, wanted RGB"):
        export_recognition(FaceRecognition(fr, given={"colour": "BGR"}), tmp_path / "out")
    with pytest.raises(ModelError, match=r"torch cannot turn .*not_traceable into ONNX"):
        export_recognition(FaceRecognition(f"{__name__}:not_traceable"), tmp_path / "out")
    (tmp_path / "q.onnx").write_bytes(tiny_model(uint8=False).SerializeToString())
    with pytest.raises(ModelError, match="check that it is a face-recognition model"):
        export_recognition(FaceRecognition(str(tmp_path / "q.onnx")), tmp_path / "out")
    assert not (tmp_path / "out").exists()
