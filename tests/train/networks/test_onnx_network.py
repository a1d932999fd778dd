"""Face-recognition networks in ONNX files: values, threads, copies, and files that are refused."""

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from sdk.errors import InputError, ModelError
from tests.support.tiny_models import embedding_model, tiny_model
from train.networks.recognition import OnnxNetwork, fingerprint, load_recognition_model


def saved(folder: Path, model: onnx.ModelProto) -> Path:
    (folder / "fr.onnx").write_bytes(model.SerializeToString())
    return folder / "fr.onnx"


@pytest.mark.parametrize("batch", ["batch", 1, 4])
def test_values_and_normalisation(batch: int | str, tmp_path: Path) -> None:
    path = saved(tmp_path, embedding_model(batch))
    model = load_recognition_model(str(path), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), gradients=False).eval()
    faces = torch.rand((6, 3, 112, 112), generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])
    blocks = ((faces - mean.view(3, 1, 1)) / std.view(3, 1, 1)).reshape(6, 3, 7, 16, 7, 16).mean((3, 5))
    weights = onnx.numpy_helper.to_array(embedding_model().graph.initializer[0])
    np.testing.assert_allclose(model(faces), blocks.reshape(6, -1).numpy() @ weights, atol=1e-5)
    default = load_recognition_model(str(path), gradients=False)
    torch.testing.assert_close(default(faces), model.network(2 * faces - 1))


def test_copies_and_threads_give_the_same(tmp_path: Path) -> None:
    path = saved(tmp_path, embedding_model())
    model = load_recognition_model(str(path), gradients=False)
    copy = pickle.loads(pickle.dumps(model))
    path.unlink()
    batches = [torch.rand((3, 3, 112, 112)) for _ in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for found, batch in zip(pool.map(copy, batches), batches, strict=True):
            assert torch.equal(found, model(batch))
    assert fingerprint(copy) == fingerprint(model)


def test_the_fingerprint_is_of_the_file_and_the_normalisation(tmp_path: Path) -> None:
    path = saved(tmp_path, embedding_model())
    first = fingerprint(load_recognition_model(str(path), gradients=False))
    assert fingerprint(load_recognition_model(str(path), mean=(0, 0, 0), gradients=False)) != first
    saved(tmp_path, embedding_model(size=9))
    assert fingerprint(load_recognition_model(str(path), gradients=False)) != first


def changed(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    model = embedding_model()
    change(model)
    return model


def second_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["batch", 147]))


def custom_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "evil"


def external_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    model.graph.initializer[0].external_data.add(key="location", value="w.bin")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (tiny_model(), r"takes image uint8 \(N, 112, 112, 3\); wanted one input, faces float32 \(N, 3, 112, 112\)"),
        (changed(second_output), r"gives embedding float32 \(N, 8\) and flat float32 \(N, 147\); wanted one output"),
        (embedding_model(0), "takes 0 faces a call, wanted 1 to 1024"),
        (changed(custom_operator), "fr.onnx: the ONNX file uses the custom operator evil.AveragePool"),
        (changed(external_weights), "fr.onnx: the ONNX file keeps weights in other files"),
    ],
)
def test_other_files_are_refused(model: onnx.ModelProto, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        OnnxNetwork(saved(tmp_path, model))


def test_what_is_no_file_and_what_needs_gradients(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent.onnx cannot be read"):
        OnnxNetwork(tmp_path / "absent.onnx")
    path = saved(tmp_path, embedding_model())
    with pytest.raises(InputError, match="gives no gradients, wanted a torch network, such as mobilefacenet128"):
        load_recognition_model(str(path))
    with pytest.raises(InputError, match="loads its own weights; leave out"):
        load_recognition_model(str(path), path, gradients=False)
    with pytest.raises(InputError, match="gives no gradients"):
        OnnxNetwork(path)(torch.rand((1, 3, 112, 112), requires_grad=True))
