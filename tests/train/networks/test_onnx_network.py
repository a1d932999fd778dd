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

from sdk.calibrating.embedding_session import read_recognition
from sdk.errors import InputError, ModelError
from sdk.models.card import METADATA_KEY, InputSpec, ModelCard
from tests.support.tiny_models import embedding_model, tiny_card, tiny_model
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


def grey(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "channels"


@pytest.mark.parametrize("gradients", [False, True])
def test_size_is_that_of_the_file(gradients: bool, tmp_path: Path) -> None:
    path = str(saved(tmp_path, embedding_model()))
    assert load_recognition_model(path, size=112, gradients=gradients)(torch.rand((1, 3, 112, 112))).shape == (1, 8)
    with pytest.raises(InputError, match=r"size is 160, but .*fr\.onnx takes faces of 112 x 112 pixels; leave"):
        load_recognition_model(path, size=160, gradients=gradients)

    def any_size(model: onnx.ModelProto) -> None:
        for name, dimension in zip("hw", model.graph.input[0].type.tensor_type.shape.dim[2:], strict=True):
            dimension.dim_param = name
        model.graph.node[0].attribute[0].ints[:] = model.graph.node[0].attribute[1].ints[:] = [8, 8]

    path = str(saved(tmp_path, changed(any_size)))
    assert load_recognition_model(path, size=56, gradients=gradients)(torch.rand((1, 3, 112, 112))).shape == (1, 8)
    with pytest.raises(ModelError, match=r"fr\.onnx fails on RGB faces \(N, 3, 112, 112\): .*; give --size"):
        load_recognition_model(path, gradients=gradients)


def test_the_output_embedding_is_taken_of_several(tmp_path: Path) -> None:
    alone = load_recognition_model(str(saved(tmp_path, embedding_model())), gradients=False)
    both = load_recognition_model(str(saved(tmp_path, changed(second_output))), gradients=False)
    faces = torch.rand((2, 3, 112, 112))
    torch.testing.assert_close(both(faces), alone(faces))


def test_a_card_says_how_the_input_wants_pixels(tmp_path: Path) -> None:
    card = ModelCard("fr", task="recognition", input=InputSpec(colour="BGR", mean=(0.1, 0.2, 0.3)))
    model = embedding_model()
    helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    found = load_recognition_model(str(saved(tmp_path, model)), gradients=False)
    plain = load_recognition_model(str(saved(tmp_path, embedding_model())), mean=(0.1, 0.2, 0.3), gradients=False)
    faces = torch.rand((2, 3, 112, 112))
    mean = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    torch.testing.assert_close(found(faces), plain.network(((faces - mean) / 0.5).flip(1)))


def custom_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "evil"


def external_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    model.graph.initializer[0].external_data.add(key="location", value="w.bin")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (tiny_model(), r"gives quality float32 \(N, 1\); wanted one output, embeddings .* face-recognition model"),
        (tiny_model(tiny_card(), outputs=2), r"gives quality .* and features .* and is for quality; wanted one output"),
        (changed(grey), r"takes faces float32 \(N, N, 112, 112\); wanted one input, faces \(N, 3, H, W\)"),
        (embedding_model(0), "takes 0 faces a call, wanted 1 to 1024"),
        (changed(custom_operator), "fr.onnx: the ONNX file uses the custom operator evil.AveragePool"),
        (changed(external_weights), "fr.onnx: the ONNX file keeps weights in other files"),
    ],
)
def test_other_files_are_refused(model: onnx.ModelProto, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        OnnxNetwork(read_recognition(saved(tmp_path, model)))


def test_what_is_no_file_and_what_needs_gradients(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent.onnx cannot be read"):
        read_recognition(tmp_path / "absent.onnx")
    path = saved(tmp_path, embedding_model())
    with pytest.raises(InputError, match="loads its own weights; leave out"):
        load_recognition_model(str(path), path, gradients=False)
    with pytest.raises(InputError, match="gives no gradients"):
        OnnxNetwork(read_recognition(path))(torch.rand((1, 3, 112, 112), requires_grad=True))
