"""GraFIQs on small networks, worked out by hand, and its command."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typer.testing import CliRunner

from tests.support.tiny_models import recognition_model, write_faces
from tests.support.weights import tame_network
from train.cli import app
from train.data.manifest import read_table
from train.methods.grafiqs import gradient_magnitudes
from train.networks import save_network


class TwoNorms(nn.Module):
    """Faces of three channels -> the means of two batch norms' outputs; the second one sees twice the first one's."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        for norm, mean, variance in ((self.first, 0.2, 0.5), (self.second, -0.4, 1.5)):
            norm.running_mean, norm.running_var = torch.full((3,), mean), torch.full((3,), variance)

    def forward(self, faces: Tensor) -> Tensor:
        return self.second(2 * self.first(faces)).mean((2, 3))


def by_hand(x: NDArray[np.float64], mean: float, variance: float) -> NDArray[np.float64]:
    """Gradient of the mean over channels of (m - mean)^2 + (v - variance)^2, at each value of one face (3, H, W)."""
    count = x[0].size
    m, v = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    return (2 * (m - mean) / count + 2 * (v - variance) * 2 * (x - m) / count) / 3


def test_magnitudes_by_hand() -> None:
    network = TwoNorms().eval()
    faces = torch.rand((4, 3, 5, 6), generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    factor = 2 / np.sqrt(0.5 + 1e-5)  # of the second norm's input by the faces
    image, layer = [], []
    for face in faces.double().numpy():
        after = (face - 0.2) * factor / 2
        inner = by_hand(2 * after, -0.4, 1.5)
        layer.append(np.abs(2 * inner / 2).sum())
        image.append(np.abs((by_hand(face, 0.2, 0.5) + factor * inner) / 2).sum())
    np.testing.assert_allclose(gradient_magnitudes(network, faces).numpy(), image, rtol=1e-4)
    np.testing.assert_allclose(gradient_magnitudes(network, faces, "first").numpy(), layer, rtol=1e-4)
    alone = [float(gradient_magnitudes(network, face[None])[0]) for face in faces]
    np.testing.assert_allclose(alone, image, rtol=1e-4)
    assert not network.first._forward_hooks


def test_command(tmp_path: Path) -> None:
    write_faces(tmp_path / "faces", 3)
    save_network(tame_network("mobilefacenet128"), tmp_path / "w.safetensors")
    base = ["label", "grafiqs", str(tmp_path / "faces"), "--out", str(tmp_path / "labels.csv")]
    weights = ["--weights", str(tmp_path / "w.safetensors")]
    result = CliRunner().invoke(app, [*base, *weights, "--layer", "features"])
    assert result.exit_code == 0, result.output
    labels = [row["grafiqs"] for row in read_table(tmp_path / "labels.csv").to_pylist()]
    assert len(set(labels)) == 3
    assert max(labels) < 0
    result = CliRunner().invoke(app, [*base, *weights, "--layer", "layer9"])
    assert result.exit_code == 2
    assert "no layer 'layer9', wanted image or a layer, such as conv1" in " ".join(result.output.split())


def test_a_network_without_batch_norms(tmp_path: Path) -> None:
    write_faces(tmp_path / "faces", 1)
    (tmp_path / "fr.onnx").write_bytes(recognition_model().SerializeToString())
    options = [str(tmp_path / "faces"), "--out", str(tmp_path / "labels.csv"), "--fr", str(tmp_path / "fr.onnx")]
    result = CliRunner().invoke(app, ["label", "grafiqs", *options])
    assert result.exit_code == 2
    assert "has no batch norms, which GraFIQs needs" in " ".join(result.output.split())
