"""The training method of CONTRIBUTING.md: built, and trained by the command."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.support.contributing import write_example
from tests.support.weights import tame_network
from train.cli import app
from train.data.manifest import read_manifest
from train.networks import load_network, save_network


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder: the example's files, twelve labelled crops and a teacher."""
    assert {path.name for path in write_example("Add a training method", tmp_path)} == {"toy_loss.py", "toy.yaml"}
    rng = np.random.default_rng(0)
    lines = ["path,identity,sharpness,split"]
    for index in range(12):
        noise = rng.integers(0, 256, (14, 14, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{index}.png"), cv2.resize(noise, (112, 112), interpolation=cv2.INTER_CUBIC))
        lines.append(f"{index}.png,p{index // 3},{index / 11},{'train' if index < 8 else 'validation'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    save_network(tame_network("mobilefacenet128"), tmp_path / "teacher.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("toy_loss", None)


def fit(command: str = "regressor", code: int = 0) -> str:
    words = ["fit", command, "toy.yaml", "--labels", "labels.csv", "--backbone", "teacher.safetensors", "--out", "run"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_the_toy_loss_trains_a_network(folder: Path) -> None:
    assert fit().endswith("run/best.safetensors")
    history = json.loads((folder / "run/history.json").read_text())
    assert [entry["step"] for entry in history] == [2, 4]  # two epochs of two batches of four
    network = load_network("fiqa-nano", folder / "run/last.safetensors")
    manifest = read_manifest(folder / "labels.csv")
    faces = np.stack([manifest.load_face(row)[..., ::-1].transpose(2, 0, 1) for row in range(8, 12)]).astype(np.float32)
    mean, std = (np.array(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        predicted = network(torch.from_numpy(((faces / 255 - mean) / std).astype(np.float32)))[:, 0].numpy()
    errors = np.abs(predicted - np.arange(8, 12) / 11)
    assert history[-1]["total"] == pytest.approx(float((errors**1.5).mean()), rel=1e-4)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("toy_loss:ToyLoss", "toy_loss:Toy", "toy_loss:Toy"),
        ("toy_loss:ToyLoss", "no_such_module:Toy", "no_such_module"),
        ("toy_loss:ToyLoss", "toy_loss:Tensor", "toy_loss:Tensor is no subclass of train.fitting.regressor.Regressor"),
        ("power", "powers", "ToyLoss has no setting 'powers'"),
    ],
)
def test_wrong_names_are_errors(folder: Path, old: str, new: str, message: str) -> None:
    recipe = folder / "toy.yaml"
    recipe.write_text(recipe.read_text().replace(old, new))
    assert message in fit(code=2)


def test_the_command_of_another_method_says_which_to_take(folder: Path) -> None:
    assert "toy.yaml is a recipe of toy_loss:ToyLoss: fiqa-train fit regressor" in fit("ediffiqa", code=2)
