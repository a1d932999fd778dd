"""A second output with embeddings: from distilled networks."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from export.cli import app
from export.exported import Exported
from export.pipeline import export_model
from export.settings import ExportSettings
from export.sources.checkpoint import normalised
from sdk import InputError, QualityScorer
from sdk.calibrating.judge import Judge
from sdk.decision.vectors import unit
from train.networks import load_network
from train.networks.recognition import load_recognition_model

Faces = NDArray[np.uint8]


@pytest.fixture(scope="module")
def both(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """An eDifFIQA(T) with its embedding."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIQA_CACHE", str(tmp_path_factory.mktemp("cache")))
        out = tmp_path_factory.mktemp("both")
        arguments = ["--model", "ediffiqa-t", "--weights", str(files / "tiny.pth"), "--embedding", "--out", str(out)]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        assert "embedding, batch 16" in result.stdout
        return Exported(
            out / "ediffiqa-t.onnx",
            out / "ediffiqa-t.report.json",
            QualityScorer(out / "ediffiqa-t.onnx").card,
            "",
            0,
            0,
        )


def test_quality_is_unchanged_and_the_sdk_ignores_the_embedding(
    both: Exported, exported: dict[str, Exported], faces: Faces
) -> None:
    names = [value.name for value in onnx.load(both.path).graph.output]
    assert names == ["quality", "embedding"]
    with QualityScorer(both.path, "cpu") as scorer, QualityScorer(exported[".pth"].path, "cpu") as alone:
        np.testing.assert_allclose(scorer.score_batch(faces), alone.score_batch(faces), atol=1e-6)


def test_the_embedding_is_that_of_torch(both: Exported, files: Path, faces: Faces) -> None:
    assert 0 < both.card.verification["embedding, batch 16"] < 1e-5
    network = load_network("ediffiqa-t", files / "tiny.pth")
    with torch.inference_mode():
        wanted = network.base_model(torch.from_numpy(normalised(faces, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))).numpy()
        rgb = torch.from_numpy(np.ascontiguousarray(faces[..., ::-1].transpose(0, 3, 1, 2))).float() / 255
        found = load_recognition_model(str(both.path), gradients=False)(rgb).numpy()
    np.testing.assert_allclose(unit(found), unit(wanted), atol=1e-5)
    np.testing.assert_allclose(unit(Judge(both.path).embed(faces)), unit(wanted), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "weights", "settings", "message"),
    [
        ("fiqa-nano", "nano.safetensors", {}, "fiqa-nano does not learn embeddings"),
        ("ediffiqa-t", "tiny.onnx", {}, r"needs a checkpoint, and tiny\.onnx is ONNX"),
        ("ediffiqa-t", "tiny.pth", {"precision": "fp16"}, "is for --precision fp32, not fp16"),
        ("ediffiqa-t", "tiny.pth", {"format": "openvino"}, "--embedding is not for --format openvino"),
        ("fiqa-detector", "nano.safetensors", {}, "exported as fp32 ONNX only"),
    ],
)
def test_what_gives_no_embedding(
    name: str, weights: str, settings: dict[str, str], message: str, files: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        export_model(name, files / weights, tmp_path / "out", settings=ExportSettings(embedding=True, **settings))
    assert not (tmp_path / "out").exists()
