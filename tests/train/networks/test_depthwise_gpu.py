"""Depthwise convolutions on a GPU: which parts of a network they take, and the kernels in Triton's interpreter."""

import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.weights import tame_network
from train.networks import attack
from train.networks.depthwise_gpu import ActivatedDepthwise, fuse_depthwise, proof_fails

ROOT = Path(__file__).parents[3]
GPU = torch.device("cuda")


def interpreted() -> bool:
    """Return True where the kernels can be interpreted; earlier interpreters do not work with today's numpy."""
    return find_spec("triton") is not None and tuple(map(int, version("triton").split(".")[:2])) >= (3, 9)


@pytest.mark.slow
@pytest.mark.skipif(not interpreted(), reason="triton 3.9 or later is not installed")
@pytest.mark.parametrize("check", ["layers", "mobilefacenet128", "mobilefacenet"])
def test_kernels_in_the_interpreter(check: str) -> None:
    """Values, gradients and the compiler; Triton looks at the switch when it is imported."""
    command = [sys.executable, "-m", "tests.support.depthwise_kernels", check]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def depthwise(**options: Any) -> nn.Conv2d:
    return nn.Conv2d(4, options.pop("outputs", 4), 3, padding=1, groups=options.pop("groups", 4), **options)


def prelu(slope: float) -> nn.PReLU:
    module = nn.PReLU(4)
    nn.init.constant_(module.weight, slope)
    return module


def parts(network: nn.Module) -> list[str]:
    """Layers that a graph calls, in order; the activations of a fused one by their caps."""
    assert isinstance(network, torch.fx.GraphModule)
    layers = [network.get_submodule(str(node.target)) for node in network.graph.nodes if node.op == "call_module"]
    return [describe(layer) for layer in layers]


def describe(layer: nn.Module) -> str:
    if not isinstance(layer, ActivatedDepthwise):
        return type(layer).__name__
    slopes = ((layer.before, "before"), (layer.after, "after"))
    return " ".join(["depthwise", *(name for values, name in slopes if values is not None)])


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        ((nn.ReLU6(), depthwise(), nn.ReLU()), ["depthwise before after"]),
        ((depthwise(),), ["depthwise"]),
        ((prelu(-0.1), depthwise(), nn.ReLU6()), ["depthwise before after"]),
        ((depthwise(), prelu(0)), ["depthwise after"]),
        ((depthwise(), prelu(-0.1)), ["depthwise", "PReLU"]),
        ((nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), depthwise(bias=False), nn.BatchNorm2d(4), nn.ReLU()),
         ["Conv2d", "depthwise before after"]),
        ((depthwise(), nn.ReLU(), depthwise()), ["depthwise after", "depthwise"]),
        ((nn.Sigmoid(), depthwise(), nn.SiLU()), ["Sigmoid", "depthwise", "SiLU"]),
        ((nn.ReLU(), depthwise(dilation=2)), ["ReLU", "Conv2d"]),
        ((nn.ReLU(), depthwise(groups=2)), ["ReLU", "Conv2d"]),
        ((nn.ReLU(), depthwise(outputs=8)), ["ReLU", "Conv2d"]),
        ((nn.ReLU(), depthwise(padding_mode="reflect")), ["ReLU", "Conv2d"]),
    ],
)  # fmt: skip
def test_which_layers_are_fused(layers: tuple[nn.Module, ...], wanted: list[str]) -> None:
    network = fuse(nn.Sequential(*layers).eval())
    fuse_depthwise(network)
    assert parts(network) == wanted


class Branches(nn.Module):
    """A depthwise convolution, whose neighbours' values are used again where it says so."""

    def __init__(self, again: str, inplace: bool = False) -> None:
        super().__init__()
        self.conv, self.depthwise = nn.Conv2d(4, 4, 1), depthwise()
        self.before, self.after, self.again = nn.ReLU(inplace), nn.ReLU(), again

    def forward(self, x: Tensor) -> Tensor:
        values = {"first": self.conv(x)}
        values["before"] = self.before(values["first"])
        values["depthwise"] = self.depthwise(values["before"])
        values["after"] = self.after(values["depthwise"])
        return values["after"] + values[self.again]


@pytest.mark.parametrize(
    ("network", "wanted"),
    [
        (Branches("after"), ["Conv2d", "depthwise before after"]),
        (Branches("before"), ["Conv2d", "ReLU", "depthwise after"]),
        (Branches("depthwise"), ["Conv2d", "depthwise before", "ReLU"]),
        (Branches("first"), ["Conv2d", "ReLU", "depthwise after"]),
        (Branches("first", inplace=True), ["Conv2d", "ReLU", "depthwise after"]),
    ],
)
def test_values_that_are_used_again_stay(network: nn.Module, wanted: list[str]) -> None:
    fused = fuse(network.eval())
    fuse_depthwise(fused)
    assert parts(fused) == wanted


def test_a_bias_goes_to_the_activation_unless_it_is_used_elsewhere() -> None:
    conv, activation = nn.Conv2d(4, 4, 1), nn.ReLU()
    once = fuse(nn.Sequential(conv, activation, depthwise()).eval())
    bias = once.get_submodule("0").bias
    fuse_depthwise(once)
    assert once.get_submodule("0").bias is None
    torch.testing.assert_close(once.get_submodule("depthwise_3").before, torch.stack([torch.zeros(4), bias]))
    twice = fuse(nn.Sequential(conv, activation, depthwise(), conv).eval())
    fuse_depthwise(twice)
    assert twice.get_submodule("0").bias is not None
    assert parts(twice) == ["Conv2d", "depthwise before", "Conv2d"]


class Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), depthwise())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) if x.sum() > 0 else x


class Launches(TorchDispatchMode):
    """Counts operations that compute something."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "detach" not in str(function):
            self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def launches(network: nn.Module, *shape: int) -> int:
    """Operations of a pass forward, and back to the input."""
    x = torch.empty(shape, device="meta", requires_grad=True)
    network = network.to("meta")
    grad = torch.empty_like(network(x))
    with Launches() as counted:
        torch.autograd.grad(network(x), x, grad)
    return len(counted.names)


@pytest.fixture
def with_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack, "_kernels_work", lambda device, dtype: True)


def fast(network: nn.Module) -> nn.Module:
    """As labelling freezes it for a GPU."""
    return attack._fast(attack._folded(network), GPU, torch.bfloat16)


@pytest.mark.usefixtures("with_triton")
def test_of_an_untraceable_network_only_the_convolutions() -> None:
    network = fast(Untraceable().eval())
    assert isinstance(network, Untraceable)
    assert [describe(layer) for layer in network.layers] == ["Conv2d", "ReLU", "depthwise"]


@pytest.mark.usefixtures("with_triton")
@pytest.mark.parametrize(
    ("name", "activations", "saved"), [("mobilefacenet128", ["ReLU"], 66), ("mobilefacenet", [], 99)]
)
def test_mobilefacenets(name: str, activations: list[str], saved: int) -> None:
    """An activation remains between two other convolutions; the last depthwise kernel has none after it."""
    plain, network = fuse(tame_network(name)).requires_grad_(False), fast(tame_network(name))
    found = parts(network)
    fused = [part for part in found if part.startswith("depthwise")]
    assert fused == [*["depthwise before after"] * 16, "depthwise before"]
    assert [part for part in found if "ReLU" in part] == activations
    without = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.bias is None]
    assert len(without) == 17 - len(activations) + (name == "mobilefacenet128")
    before, after = (launches(model.requires_grad_(False), 4, 3, 112, 112) for model in (plain, network))
    assert before - after == saved


@pytest.mark.parametrize(
    ("missing", "proof", "said"),
    [("a C compiler", "", "slower: a C compiler is missing"), ("", "they differ by 1", "slower: they differ by 1")],
)
def test_kernels_that_cannot_be_used_are_said_once(
    missing: str, proof: str, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attack._kernels_work.cache_clear()
    monkeypatch.setattr(attack, "missing_for_triton", lambda device: missing)
    monkeypatch.setattr(attack, "proof_fails", lambda device, dtype: proof)
    for _ in range(2):
        assert parts(fast(nn.Sequential(depthwise()).eval())) == ["Conv2d"]
    fast(nn.Sequential(nn.Conv2d(4, 4, 1)).eval())
    assert caplog.text.count(said) == 1
    attack._kernels_work.cache_clear()


def test_kernels_that_do_not_run_or_differ_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here they do not run: there is no GPU. A stand-in gives values that are too large."""
    cpu = torch.device("cpu")
    with torch.no_grad():
        assert "their kernels do not run" in proof_fails(cpu, torch.float32)
    monkeypatch.setattr(ActivatedDepthwise, "forward", lambda self, x: x * 1.5)
    assert "differ from PyTorch's by" in proof_fails(cpu, torch.float32)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_launches_two_kernels_instead_of_six(stride: int) -> None:
    block = nn.Sequential(nn.ReLU6(), depthwise(stride=stride), nn.ReLU6()).requires_grad_(False)
    fused = fuse(block.eval())
    fuse_depthwise(fused)
    assert (launches(block, 2, 4, 8, 8), launches(fused, 2, 4, 8, 8)) == (6, 2)
