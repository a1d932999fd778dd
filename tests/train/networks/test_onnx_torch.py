"""ONNX files as torch networks: the same embeddings, gradients, and the same FaceQAN labels as the torch network."""

import copy
import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from scipy.stats import rankdata
from torch import Tensor, nn

from sdk.errors import ModelError
from tests.support.tiny_models import faces, recognition_model, tiny_model
from train.methods.faceqan import FaceQANLabeller, FaceQANSettings
from train.networks.attack import frozen_for_attack
from train.networks.recognition import RecognitionModel, load_recognition_model


class TorchTwin(nn.Module):
    """`recognition_model`, written in torch with its weights."""

    def __init__(self) -> None:
        super().__init__()
        for value in recognition_model().graph.initializer:
            self.register_buffer(value.name.replace(".", "_"), torch.from_numpy(numpy_helper.to_array(value).copy()))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        scale, bias, mean, variance = (
            getattr(self, f"{name}_{each}") for each in ("scale", "bias", "mean", "variance")
        )
        return F.batch_norm(x, mean, variance, scale, bias)

    def forward(self, x: Tensor) -> Tensor:
        a = F.prelu(self._norm(F.conv2d(x, self.w1, None, 4, 1), "n1"), self.slope.reshape(-1))
        s = F.silu(self._norm(F.conv2d(a, self.w2, None, 1, 1, groups=8), "n2") + a)
        flat = F.avg_pool2d(s, 4, 3)[:, :, :8, :8].reshape(len(x), 512)
        return self._norm(F.linear(flat, self.w3, self.o3), "n3")


def saved(folder: Path, model: onnx.ModelProto) -> str:
    (folder / "fr.onnx").write_bytes(model.SerializeToString())
    return str(folder / "fr.onnx")


@pytest.mark.parametrize("batch", ["batch", 1, 4])
def test_embeddings_and_gradients_are_those_of_the_torch_network(batch: int | str, tmp_path: Path) -> None:
    model = load_recognition_model(saved(tmp_path, recognition_model(batch)))
    twin = RecognitionModel(TorchTwin(), (0.5,) * 3, (0.5,) * 3)
    images = torch.rand((5, 3, 112, 112), generator=torch.Generator().manual_seed(0))
    gradients = []
    for network in (model, twin, frozen_for_attack(model, torch.device("cpu")), pickle.loads(pickle.dumps(model))):
        inputs = images.clone().requires_grad_()
        found = network(inputs)
        torch.testing.assert_close(found, twin(images), atol=1e-5, rtol=1e-4)
        (gradient,) = torch.autograd.grad(found.square().sum(), inputs)
        gradients.append(gradient)
    for gradient in gradients:
        torch.testing.assert_close(gradient, gradients[1], atol=1e-5, rtol=1e-3)
    runtime = load_recognition_model(saved(tmp_path, recognition_model(batch)), gradients=False)
    torch.testing.assert_close(model(images), runtime(images), atol=1e-5, rtol=1e-4)


def test_faceqan_labels_have_the_ranks_of_those_by_the_torch_network(tmp_path: Path) -> None:
    crops, keys = faces(12), [f"{index}.png" for index in range(12)]
    settings = FaceQANSettings(epsilon=0.01, copies=3, iterations=3)
    model = load_recognition_model(saved(tmp_path, recognition_model(1)))
    twin = RecognitionModel(TorchTwin(), (0.5,) * 3, (0.5,) * 3)
    found, wanted = (FaceQANLabeller(each, settings)(crops, keys)["faceqan"] for each in (model, twin))
    np.testing.assert_array_equal(rankdata(found), rankdata(wanted))
    np.testing.assert_allclose(found, wanted, atol=1e-4)  # the sign of a gradient that is all but zero may turn


def test_an_input_of_whole_numbers_has_a_gradient_too(tmp_path: Path) -> None:
    model = copy.deepcopy(tiny_model(outputs=2))
    del model.graph.output[0]
    model.graph.output[0].name = model.graph.node[-3].output[0] = "embedding"
    model.graph.node[-2].input[0] = "embedding"
    del model.graph.node[-2:]
    path = saved(tmp_path, model)
    images = torch.randint(0, 256, (2, 3, 112, 112)).float() / 255
    found = load_recognition_model(path)
    torch.testing.assert_close(
        found(images), load_recognition_model(path, gradients=False)(images), atol=1e-5, rtol=1e-4
    )
    inputs = images.requires_grad_()
    (gradient,) = torch.autograd.grad(found(inputs).sum(), inputs)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ("Round", "fr.onnx has the operator Round, which has no gradient here; take a method without gradients"),
        ("Sin", None),
    ],
)
def test_an_operator_without_gradient_is_named(odd: str, message: str | None, tmp_path: Path) -> None:
    path = saved(tmp_path, recognition_model(odd=odd))
    if message is None:
        assert load_recognition_model(path)(torch.rand((1, 3, 112, 112))).shape == (1, 16)
    else:
        with pytest.raises(ModelError, match=message):
            load_recognition_model(path)
        assert load_recognition_model(path, gradients=False)(torch.rand((1, 3, 112, 112))).shape == (1, 16)
