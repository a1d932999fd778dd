"""Networks against the recorded outputs of the published implementations, and strict loading."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from sdk.errors import InputError, ModelError
from tests.weights import golden_image, tame_network
from train.networks import VARIANTS, QualityNetwork, create_network, identify, load_network, read_state, save_network
from train.networks.depthwise import DepthwiseConv2d, speed_up_depthwise

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
VARIANT_NAMES = ["ediffiqa-t", "ediffiqa-s", "ediffiqa-m", "ediffiqa-l"]


def relative(found: torch.Tensor, wanted: NDArray[np.float32]) -> float:
    return float(np.abs(found.numpy() - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("name", VARIANT_NAMES)
def test_golden_outputs(name: str) -> None:
    golden = np.load(GOLDEN / "networks.npz")
    network = tame_network(name)
    assert isinstance(network, QualityNetwork)
    with torch.inference_mode():
        features, quality = network.features_and_quality(torch.from_numpy(golden_image("faces", (2, 3, 112, 112))))
    assert relative(features, golden[f"{name}/features"]) < 1e-4
    assert relative(quality, golden[f"{name}/quality"]) < 1e-4


@pytest.mark.parametrize("name", VARIANT_NAMES)
def test_keys_and_shapes_are_the_published_ones(name: str) -> None:
    wanted = json.loads((GOLDEN / "state_dict_shapes.json").read_text())[name]
    with torch.device("meta"):
        network = create_network(name)
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == wanted


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ediffiqa-t", 1_726_849),
        ("ediffiqa-s", 24_551_937),
        ("ediffiqa-m", 44_117_185),
        ("ediffiqa-l", 65_682_497),
    ],
)
def test_parameters(name: str, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in create_network(name).parameters()) == parameters


def test_mobilefacenet128() -> None:
    network = tame_network("mobilefacenet128")
    embedding = network(torch.from_numpy(golden_image("faces", (2, 3, 112, 112))))
    assert embedding.shape == (2, 128)
    assert sum(parameter.numel() for parameter in network.parameters()) == 999_936


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_checkpoints_load(suffix: str, tmp_path: Path) -> None:
    network = tame_network("fiqa-nano")
    path = tmp_path / f"nano{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{key}": value for key, value in network.state_dict().items()}}, path)
    else:
        save_network(network, path)
    loaded = load_network("fiqa-nano", path)
    assert not loaded.training
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in network.state_dict().items())
    assert identify(read_state(path)) == "fiqa-nano"


def test_wrong_variant_says_which_it_is(tmp_path: Path) -> None:
    save_network(tame_network("fiqa-nano"), tmp_path / "nano.safetensors")
    with pytest.raises(ModelError, match=r"missing keys, first 'base_model.conv1.conv.weight'") as raised:
        load_network("ediffiqa-t", tmp_path / "nano.safetensors")
    assert "unexpected keys, first 'base_model.conv1.0.weight'" in str(raised.value)
    assert "checkpoint of fiqa-nano" in str(raised.value)


def test_wrong_shape_is_named(tmp_path: Path) -> None:
    state = tame_network("fiqa-nano").state_dict()
    save_file({**state, "mlp.l2.weight": torch.zeros(2, 512)}, tmp_path / "odd.safetensors")
    with pytest.raises(ModelError, match=r"'mlp.l2.weight' has shape \(2, 512\), wanted \(1, 1024\)"):
        load_network("fiqa-nano", tmp_path / "odd.safetensors")


class NotATensor:
    """What an unpickler must not make."""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.pth", None, "no checkpoint at"),
        ("text.pth", b"hello", "not a checkpoint of tensors only"),
        ("text.safetensors", b"hello", "not a safetensors file"),
        ("model.onnx", b"", "wanted .safetensors or .pth"),
    ],
)
def test_bad_files(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_state(tmp_path / name)


def test_pickled_code_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": NotATensor()}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match="tensors only"):
        read_state(tmp_path / "evil.pth")
    torch.save({"epoch": 3}, tmp_path / "plain.pth")
    with pytest.raises(ModelError, match="wanted a state dict"):
        read_state(tmp_path / "plain.pth")


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(InputError, match="ediffiqa-t") as raised:
        create_network("resnet")
    assert all(name in str(raised.value) for name in VARIANTS)


@pytest.mark.parametrize(("stride", "kernel", "padding"), [(1, 3, 1), (2, 3, 1), (1, 7, 0), (2, 5, 2)])
def test_fast_depthwise_has_the_same_gradients(stride: int, kernel: int, padding: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(8, 8, kernel, stride, padding, groups=8).double()
    fast = nn.Conv2d(8, 8, kernel, stride, padding, groups=8).double()
    fast.load_state_dict(plain.state_dict())
    speed_up_depthwise(fast)
    assert type(fast) is DepthwiseConv2d
    x = torch.randn(2, 8, 14, 15, dtype=torch.double, requires_grad=True)
    wanted = torch.autograd.grad(plain(x).square().sum(), [x, *plain.parameters()])
    found = torch.autograd.grad(fast(x).square().sum(), [x, *fast.parameters()])
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)
