"""FROQ on small networks, worked out by hand, and its command."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from sdk.errors import InputError
from tests.support.tiny_models import recognition_model
from train.cli import app
from train.data.manifest import read_manifest, read_table
from train.methods.froq import FROQSettings, choose_layers, layer_norms, pseudo_labels


class Halves(nn.Module):
    """Embeddings of two values: the means of the left and of the right half."""

    def forward(self, faces: Tensor) -> Tensor:
        left, right = faces.mean(1).chunk(2, dim=-1)
        return torch.stack([left.mean((1, 2)), right.mean((1, 2))], 1)


def test_pseudo_labels_by_hand() -> None:
    face = torch.zeros((1, 3, 28, 28))
    face[..., :14], face[..., 14:] = 0.2, 0.6
    # Mirrored: (.2, .6) against (.6, .2): cosine .24 / .4 = .6. Four cells of 14 x 14: two cover a half of the left
    # side (.1, .6), two a half of the right side (.2, .3).
    left = (0.2 * 0.1 + 0.6 * 0.6) / np.sqrt(0.4 * 0.37)
    right = (0.2 * 0.2 + 0.6 * 0.3) / np.sqrt(0.4 * 0.13)
    generator = torch.Generator().manual_seed(4)
    noisy = []
    for _ in range(2):
        pixels = 0.5 * (2 * face - 1) + 0.5 * torch.randn((3, 28, 28), generator=generator)
        a, b = Halves()((pixels + 1) / 2)[0].double().numpy()
        noisy.append((0.2 * a + 0.6 * b) / np.sqrt(0.4 * (a**2 + b**2)))
    found = pseudo_labels(Halves(), face, FROQSettings(noise=0.5, masks=2, seed=4))
    assert float(found[0]) == pytest.approx((0.6 + (left + right) / 2 + np.mean(noisy)) / 3, abs=1e-5)


def test_lengths_of_layers() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Identity(), nn.Linear(3 * 4, 2))
    faces = torch.rand((5, 3, 2, 2))
    found = layer_norms(network, faces)
    assert list(found) == ["0", "1", "2"]
    torch.testing.assert_close(found["0"], faces.flatten(1).norm(dim=1))
    torch.testing.assert_close(found["2"], network(faces).norm(dim=1))
    assert list(layer_norms(network, faces, ["2"])) == ["2"]
    assert not network[0]._forward_hooks


def test_layers_are_added_while_they_help() -> None:
    quality = np.arange(6.0)
    a = np.array([0, 1, 2, 3, 5, 4.0])
    b = np.array([0, 1, 2, 3, 4, 9.0]) / 2
    worse = np.array([5, 4, 3, 2, 1, 0.0]) * 100
    norms = {"worse": worse, "same": np.ones(6), "b": b, "a": a}
    assert choose_layers(norms, quality, 10) == ["b"]
    c = np.array([1, 0, 2, 3, 4, 6.0])
    assert choose_layers({"a": a, "c": c, "worse": worse}, quality, 10) == ["a", "c"]
    assert choose_layers({"a": a, "c": c, "worse": worse}, quality, 1) == ["a"]
    with pytest.raises(InputError, match="no layer's output differs"):
        choose_layers({"same": np.ones(6)}, quality, 10)


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["label", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_commands(crops: Path, tmp_path: Path) -> None:
    (tmp_path / "fr.onnx").write_bytes(recognition_model(1).SerializeToString())
    model, layers = ("--fr", tmp_path / "fr.onnx"), ("--layers", tmp_path / "froq.json")
    text = run("froq", crops, "--out", tmp_path / "l.csv", *model, *layers, code=2)
    assert "froq.json is not there; give --calibration" in text
    run("froq", crops, "--out", tmp_path / "l.csv", *model, *layers, "--calibration", crops, "--images", 10)
    kept = json.loads((tmp_path / "froq.json").read_text())
    assert kept["layers"]
    first = read_table(tmp_path / "l.csv")["froq"].to_pylist()
    assert len(set(first)) == 12
    run("froq", crops, "--out", tmp_path / "again.csv", *model, *layers)
    assert read_table(tmp_path / "again.csv")["froq"].to_pylist() == first
    (tmp_path / "fr.onnx").write_bytes(recognition_model(1, odd="Sin").SerializeToString())
    run("norm", crops, "--out", tmp_path / "n.csv", *model, "--embeddings", tmp_path / "e.npy")
    lengths = np.linalg.norm(np.load(tmp_path / "e.npy"), axis=1)
    np.testing.assert_allclose(read_manifest(tmp_path / "n.csv").numbers("norm"), lengths, rtol=1e-5)
