"""Networks with folded batch norms against the same networks with their norms."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.support.weights import tame_network
from train.methods.faceqan import FaceQANSettings, faceqan
from train.networks.attack import frozen_for_attack
from train.networks.iresnet import IBasicBlock, IResNet
from train.networks.norms.norm_folding import PaddedConv2d
from train.networks.recognition import RecognitionModel

CPU = torch.device("cpu")


def norm(channels: int, **settings: bool) -> nn.BatchNorm2d:
    """A norm with every kind of factor: usual, negative, small and zero."""
    layer = nn.BatchNorm2d(channels, **settings)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.1, 3)
    if layer.affine:
        nn.init.normal_(layer.bias)
        nn.init.normal_(layer.weight).data[:3] = torch.tensor([0.0, 1e-6, -2.0])
    return layer


def norms_of(network: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in network.modules())


def assert_same(network: nn.Module, frozen: Callable[[Tensor], Tensor], x: Tensor, tolerance: float) -> None:
    """Embeddings and input gradients are the same, to a share of the largest value."""
    found, wanted = (each(x.requires_grad_()) for each in (frozen, network.eval()))
    weights = torch.randn(wanted.shape, dtype=wanted.dtype)
    gradients = [torch.autograd.grad((each * weights).sum(), x)[0] for each in (found, wanted)]
    for ours, theirs in ((found, wanted), gradients):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * float(theirs.detach().abs().max()))


class Reading(nn.Module):
    """A norm, and what reads it."""

    def __init__(self, read: Callable[[Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.norm, self.read = norm(8), read
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.norm(x))


CONVOLUTIONS = {
    "padded": nn.Conv2d(8, 6, 3, 1, 1),
    "without bias": nn.Conv2d(8, 6, 3, 1, 1, bias=False),
    "unpadded": nn.Conv2d(8, 6, 3),
    "1x1": nn.Conv2d(8, 6, 1, 2, bias=False),
    "stride 2": nn.Conv2d(8, 6, 3, 2, 1),
    "unequal": nn.Conv2d(8, 6, (5, 1), (1, 2), (2, 0)),
    "wide": nn.Conv2d(8, 6, 7, 3, 5),
    "dilated": nn.Conv2d(8, 6, 3, 1, 2, 2),
    "grouped": nn.Conv2d(8, 12, 3, 1, 1, groups=4),
    "depthwise": nn.Conv2d(8, 8, 3, 2, 1, groups=8),
    "same": nn.Conv2d(8, 6, 5, padding="same"),
    "valid": nn.Conv2d(8, 6, 4, padding="valid"),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@pytest.mark.parametrize("size", [(13, 10), (8, 9)])
def test_norm_before_a_convolution(kind: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.PReLU(), norm(8), CONVOLUTIONS[kind], nn.PReLU()).double()
    frozen = frozen_for_attack(network, CPU)
    assert norms_of(frozen) == 0
    assert_same(network, frozen, torch.randn(2, 8, *size, dtype=torch.double), 1e-12)


@pytest.mark.parametrize(
    "layers",
    [
        [norm(8), nn.Flatten(), nn.Linear(8 * 20, 7)],
        [norm(8, affine=False), nn.Flatten(), nn.Dropout(), nn.Linear(8 * 20, 7, bias=False)],
        [norm(8), nn.Dropout(), nn.Conv2d(8, 8, 3, 1, 1, bias=False), norm(8), nn.Conv2d(8, 4, 3, 1, 1)],
        [norm(8, affine=False), nn.Conv2d(8, 8, 3, 1, 1, bias=False), norm(8), nn.Flatten(), nn.Linear(160, 7)],
    ],
)
def test_chains_of_layers(layers: list[nn.Module]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(*layers).double()
    frozen = frozen_for_attack(network, CPU)
    assert norms_of(frozen) == 0
    assert_same(network, frozen, torch.randn(2, 8, 4, 5, dtype=torch.double), 1e-12)


def test_norms_that_stay() -> None:
    torch.manual_seed(0)
    conv, linear, deep = nn.Conv2d(8, 8, 3, 1, 1), nn.Linear(8, 5), nn.Linear(40, 5)
    mirrored = nn.Conv2d(8, 8, 3, 1, 1, padding_mode="reflect")
    for network in (
        Reading(lambda x: conv(x) + x, conv=conv),
        Reading(mirrored, read_by=mirrored),
        Reading(lambda x: linear(x), linear=linear),  # of the last axis, which is not that of the channels
        Reading(lambda x: deep(x.flatten(2)), deep=deep),
        Reading(lambda x: conv(conv(x)), conv=conv),
        Reading(lambda x: x),
    ):
        frozen = frozen_for_attack(network.double(), CPU)
        assert norms_of(frozen) == 1
        assert_same(network, frozen, torch.randn(2, 8, 5, 8, dtype=torch.double), 1e-12)


def test_a_layer_that_is_called_twice_keeps_its_norm() -> None:
    torch.manual_seed(0)
    conv, after = nn.Conv2d(8, 8, 3, 1, 1), norm(8)
    network = nn.Sequential(conv, after, conv, after).double()
    assert_same(network, frozen_for_attack(network, CPU), torch.randn(2, 8, 5, 8, dtype=torch.double), 1e-12)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bf16", [False, True])
def test_block_of_iresnet_under_autocast(stride: int, bf16: bool) -> None:
    torch.manual_seed(0)
    block = IBasicBlock(8, 16, stride)
    block.bn1, block.bn2 = norm(8), norm(16)
    frozen = frozen_for_attack(block, CPU)
    x = torch.randn(2, 8, 13, 13)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        found = frozen(x)
    assert found.dtype == (torch.bfloat16 if bf16 else torch.float32)
    wanted = block.eval()(x)
    tolerance = float(wanted.detach().abs().max()) * (0.02 if bf16 else 1e-6)
    torch.testing.assert_close(found.float(), wanted, rtol=0, atol=tolerance)


def test_block_of_iresnet_compiles_as_one_graph() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(IBasicBlock(8, 8, 1))
    frozen = frozen_for_attack(block, CPU)
    compiled = torch.compile(frozen, fullgraph=True, dynamic=False, backend="aot_eager")
    assert_same(frozen, compiled, torch.randn(2, 8, 9, 10), 1e-6)


def test_iresnet_has_no_norm_left() -> None:
    """In float64: in float32 rounding turns the sign of some inputs of PReLUs, and with it single gradients."""
    model = RecognitionModel(tame_network("iresnet18"), (0.5,) * 3, (0.5,) * 3).eval().double()
    frozen = frozen_for_attack(model, CPU)
    assert norms_of(frozen) == 0
    assert sum(isinstance(layer, PaddedConv2d) for layer in frozen.modules()) == 8
    faces = torch.rand((1, 3, 112, 112), generator=torch.Generator().manual_seed(0), dtype=torch.double)
    assert_same(model.requires_grad_(False), frozen, faces, 1e-10)
    assert norms_of(frozen_for_attack(model, CPU, torch.bfloat16)) == 0


def test_faceqan_with_folded_norms() -> None:
    """The attack is the same: few signs of gradients that are all but zero turn."""
    torch.manual_seed(0)
    network = IResNet((1, 1, 1, 1))
    model = RecognitionModel(network, (0.5,) * 3, (0.5,) * 3).eval().requires_grad_(False)
    faces, noise = torch.rand(2, 3, 112, 112), 0.001 * (2 * torch.rand(2, 2, 3, 112, 112) - 1)
    settings = FaceQANSettings(copies=2, iterations=2)
    found, wanted = (faceqan(each, faces, noise, settings) for each in (frozen_for_attack(model, CPU), model))
    torch.testing.assert_close(found.quality, wanted.quality, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.embeddings, wanted.embeddings, atol=1e-5, rtol=1e-5)
