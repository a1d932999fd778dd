"""Embeddings without labels: values, failed images, going on, and the command."""

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from sdk.errors import InputError
from tests.support.tiny_models import embedding_model
from tests.support.weights import tame_network
from train.cli import app
from train.data.manifest import read_manifest
from train.labelling.embedder import Embedder, embed_manifest
from train.networks import save_network
from train.networks.recognition import RecognitionModel, fingerprint, load_recognition_model


@pytest.fixture(scope="module")
def network() -> RecognitionModel:
    return RecognitionModel(tame_network("mobilefacenet128"), (0.5,) * 3, (0.5,) * 3).eval()


def test_every_row_has_the_embedding_of_its_face(crops: Path, tmp_path: Path, network: RecognitionModel) -> None:
    (crops / "person1" / "4.png").write_bytes(b"text")
    manifest = read_manifest(crops)
    failed = manifest.paths.index("person1/4.png")
    vectors = embed_manifest(manifest, network, tmp_path / "e.npy", 5, "cpu")
    assert vectors.dtype == np.float32
    assert np.flatnonzero(np.isnan(vectors).any(axis=1)).tolist() == [failed]
    rgb = manifest.load_face(7)[..., ::-1].copy()
    with torch.no_grad():
        wanted = network(torch.from_numpy(rgb).permute(2, 0, 1)[None] / 255)[0].numpy()
    np.testing.assert_allclose(vectors[7], wanted, atol=1e-5)
    np.testing.assert_array_equal(np.load(tmp_path / "e.npy"), vectors)
    assert {path.name for path in tmp_path.iterdir()} == {"crops", "e.npy"}


def test_other_weights_do_not_go_on(
    crops: Path, tmp_path: Path, network: RecognitionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, calls = read_manifest(crops), []

    def stop(self: Embedder, faces: object, keys: list[str]) -> dict[str, np.ndarray]:
        calls.append(keys)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {"norm": np.ones(len(keys)), "embedding": np.ones((len(keys), 128), np.float32)}

    with monkeypatch.context() as patch:
        patch.setattr(Embedder, "__call__", stop)
        with pytest.raises(KeyboardInterrupt):
            embed_manifest(manifest, network, tmp_path / "e.npy", 4, "cpu", callers=1)
    other = RecognitionModel(network.network, (0.4,) * 3, (0.5,) * 3)
    assert fingerprint(other) != fingerprint(network)
    with pytest.raises(InputError, match=f"weights={fingerprint(network)}, this one has weights={fingerprint(other)}"):
        embed_manifest(manifest, other, tmp_path / "e.npy", 4, "cpu")
    vectors = embed_manifest(manifest, network, tmp_path / "e.npy", 4, "cpu")
    assert (vectors == 1).all(axis=1).tolist() == [True] * 4 + [False] * 8


def test_command(crops: Path, tmp_path: Path, network: RecognitionModel) -> None:
    save_network(network.network, tmp_path / "w.safetensors")
    out = tmp_path / "e.npy"
    arguments = ["embed", str(crops), "--out", str(out), "--weights", str(tmp_path / "w.safetensors")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "12 embedded, 0 failed" in result.output
    assert np.load(out).shape == (12, 128)
    for path in crops.rglob("*.png"):
        path.write_bytes(b"text")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "none of 12 images could be embedded; the first one: " in " ".join(result.output.split())
    assert np.load(out).shape == (12, 128)


def test_command_with_an_onnx_file(crops: Path, tmp_path: Path) -> None:
    model, out = tmp_path / "fr.onnx", tmp_path / "e.npy"
    model.write_bytes(embedding_model(4).SerializeToString())
    arguments = ["embed", str(crops), "--out", str(out), "--model", str(model), "--callers", "2", "--batch", "5"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    manifest, network = read_manifest(crops), load_recognition_model(str(model), gradients=False)
    faces = np.stack([manifest.load_face(row)[..., ::-1] for row in range(12)]).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(np.load(out), network(torch.from_numpy(faces / np.float32(255))), atol=1e-5)
    result = CliRunner().invoke(app, [*arguments, "--device", "cuda"])
    assert result.exit_code == 1
    assert "onnxruntime" in " ".join(result.output.split())
