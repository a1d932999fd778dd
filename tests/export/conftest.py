"""What the export tests share: files with known weights, made once."""

import logging
import warnings
from pathlib import Path

import onnx
import pytest
import torch

from export.exported import Exported
from export.pipeline import export_model
from export.proof.crops import verification_faces
from sdk.models.card import METADATA_KEY
from tests.support.exports import packaged
from tests.support.weights import tame_network
from train.networks import save_network

FACTS = '{"licence": "Apache-2.0", "training_data": "none: random weights", "score_range": [-1, 1]}'


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FIQA_OFFLINE", "1")
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FIQA_MODELS", raising=False)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights: `nano.safetensors` with facts, `tiny.pth`, and `tiny.onnx` as others publish it: opset 11,
    float NCHW, traced with one face."""
    folder = tmp_path_factory.mktemp("weights")
    save_network(tame_network("fiqa-nano"), folder / "nano.safetensors", {METADATA_KEY: FACTS})
    tiny = tame_network("ediffiqa-t")
    torch.save({"module." + key: value for key, value in tiny.state_dict().items()}, folder / "tiny.pth")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            tiny, (torch.zeros(1, 3, 112, 112),), folder / "tiny.onnx", dynamo=False, opset_version=11,
            input_names=["input"], output_names=["output"],
        )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def exported(files: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """Exports of all of `files`, by the suffix of what they were made from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIQA_CACHE", str(tmp_path_factory.mktemp("cache")))
        return {
            file.suffix: export_model(name, file, tmp_path_factory.mktemp(name))
            for name, file in (
                ("fiqa-nano", files / "nano.safetensors"),
                ("ediffiqa-t", files / "tiny.pth"),
                ("ediffiqa-t", files / "tiny.onnx"),
            )
        }


@pytest.fixture(scope="session")
def faces() -> object:
    """The packaged faces."""
    return verification_faces()


@pytest.fixture(scope="module")
def nano() -> onnx.ModelProto:
    """The packaged network: trained weights."""
    return onnx.load(packaged())


@pytest.fixture(scope="module")
def tiny(exported: dict[str, Exported]) -> onnx.ModelProto:
    """An eDifFIQA(T): PReLU, and a normalised embedding."""
    return onnx.load(exported[".pth"].path)
