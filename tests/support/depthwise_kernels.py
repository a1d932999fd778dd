"""Checks of the Triton kernels on a CPU. A process of its own runs them, with TRITON_INTERPRET=1 from its start."""

import copy
import sys
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from tests.support.weights import tame_network
from train.networks.depthwise_gpu import ActivatedDepthwise, fuse_depthwise, kernels, proof_fails
from train.networks.depthwise_gpu.layers import depthwise

ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}
"""Largest difference, as a share of the largest value."""


def prelu(channels: int, lowest: float) -> nn.PReLU:
    """A PReLU whose slopes reach from `lowest` to 1, 0 among them."""
    module = nn.PReLU(channels)
    slopes = torch.linspace(lowest, 1, channels)
    slopes[channels // 2] = 0
    module.weight = nn.Parameter(slopes)
    return module


@dataclass(frozen=True)
class Case:
    """A convolution with activations: shape (N, C, H, W) of its input, kernel, stride, padding."""

    shape: tuple[int, int, int, int]
    geometry: tuple[int, int, int] = (3, 1, 1)
    before: nn.Module | None = None
    after: nn.Module | None = None
    dtype: torch.dtype = torch.float32


CASES = [
    Case((2, 70, 17, 9), before=nn.ReLU6(), after=nn.ReLU6()),
    Case((1, 3, 1, 1), before=nn.ReLU()),
    Case((1, 64, 15, 8), before=prelu(64, -0.5), after=prelu(64, 0)),
    Case((1, 5, 4, 19), after=nn.ReLU()),
    Case((2, 70, 7, 9), (3, 2, 1), nn.ReLU6(), nn.ReLU6()),
    Case((1, 5, 8, 6), (3, 2, 1), prelu(5, -0.5), prelu(5, 0)),
    Case((1, 3, 1, 1), (3, 2, 1), nn.ReLU(), nn.ReLU()),
    Case((2, 8, 7, 7), (7, 1, 0), nn.ReLU6()),
    Case((1, 5, 7, 8), (5, 3, 1)),
    Case((1, 5, 6, 7), (4, 2, 1), after=nn.ReLU()),
    Case((1, 5, 6, 7), (3, 1, 0), nn.PReLU()),
    *(
        Case((1, 8, 6, 9), (3, stride, 1), nn.ReLU6(), nn.ReLU6(), dtype)
        for stride in (1, 2)
        for dtype in (torch.bfloat16, torch.float16)
    ),
]


def layer_is_right(case: Case) -> None:
    """Compare values and gradients with those of PyTorch in float32, on the same rounded numbers."""
    torch.manual_seed(0)
    kernel, stride, padding = case.geometry
    channels = case.shape[1]
    conv = nn.Conv2d(channels, channels, kernel, stride, padding, groups=channels)
    layers = [module for module in (case.before, conv, case.after) if module is not None]
    network = nn.Sequential(*copy.deepcopy(layers)).to(case.dtype).float().requires_grad_(False)
    shift = torch.randn(channels).to(case.dtype).float()
    fused = ActivatedDepthwise(conv, case.before, case.after, shift).to(case.dtype)  # type: ignore[arg-type]
    x = (4 * torch.randn(case.shape)).to(case.dtype)
    x.flatten()[::3] = 0
    x.flatten()[1::3] = 6
    shifted = x.float() + (shift[:, None, None] if case.before else 0)
    wanted, wanted_gradient = value_and_gradient(network, shifted)
    found, gradient = value_and_gradient(fused, x)
    assert found.dtype == gradient.dtype == case.dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    close(found, wanted, ROUNDING[case.dtype])
    close(gradient, wanted_gradient, ROUNDING[case.dtype])


def edges_have_pytorchs_gradient() -> None:
    """Values of exactly 0 and 6, before and after a convolution that passes them on."""
    conv = nn.Conv2d(4, 4, 3, 1, 1, groups=4)
    nn.init.dirac_(conv.weight, 4)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    x = torch.tensor([-1.0, 0, 1, 6, 7]).expand(1, 4, 3, 5).contiguous()
    for activation, wanted in ((nn.ReLU6(), [0.0, 0, 1, 0, 0]), (nn.ReLU(), [0.0, 0, 1, 1, 1])):
        for around in ((activation, None), (None, activation)):
            _, gradient = value_and_gradient(ActivatedDepthwise(conv, *around), x, torch.ones_like(x))
            torch.testing.assert_close(gradient, torch.tensor(wanted).expand_as(gradient))


def value_and_gradient(network: nn.Module, x: Tensor, grad: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the output, and the gradient of the input for a random gradient of the output, the same each time."""
    x = x.clone().requires_grad_()
    found = network(x)
    if grad is None:
        grad = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    return found.detach(), torch.autograd.grad(found, x, grad.to(found.dtype))[0]


def close(found: Tensor, wanted: Tensor, share: float) -> None:
    """Compare, in shares of the largest value."""
    torch.testing.assert_close(found.float(), wanted, rtol=0, atol=share * max(wanted.abs().max().item(), 1e-3))


def network_is_right(name: str) -> None:
    """Compare a whole network, frozen as labelling freezes it, with itself."""
    plain = fuse(tame_network(name)).requires_grad_(False)
    fused = copy.deepcopy(plain)
    fuse_depthwise(fused)
    assert sum(isinstance(module, ActivatedDepthwise) for module in fused.modules()) == 17
    # Large tiles: the interpreter takes its time for each, however large.
    kernels.ROWS, kernels.COLUMNS, kernels.POSITIONS, kernels.CHANNELS = 64, 16, 256, 128
    faces = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    found, gradient = value_and_gradient(fused, faces)
    # In float32 a value that is 0 but for rounding may take the other slope of a PReLU, and change the gradient by 1 %.
    wanted, wanted_gradient = value_and_gradient(plain.double(), faces.double())
    close(found, wanted.float(), 1e-5)
    assert (gradient - wanted_gradient).norm() < 1e-2 * wanted_gradient.norm()
    assert (gradient.sign() == wanted_gradient.sign()).float().mean() > 0.999


def the_compiler_takes_it() -> None:
    """Compile it with torch.compile, once, for values and gradients; and check the operator's promises."""
    network = nn.Sequential(
        nn.Conv2d(3, 8, 1), ActivatedDepthwise(nn.Conv2d(8, 8, 3, 2, 1, groups=8), nn.ReLU(), nn.ReLU6())
    ).requires_grad_(False)
    x = torch.randn(2, 3, 6, 5)
    wanted, wanted_gradient = value_and_gradient(network, x)
    found, gradient = value_and_gradient(torch.compile(network, fullgraph=True, backend="aot_eager"), x)
    close(found, wanted, 1e-6)
    close(gradient, wanted_gradient, 1e-6)
    slopes = torch.zeros(8)
    x = torch.randn(2, 8, 6, 5, requires_grad=True)
    arguments = (x, torch.randn(9, 8), slopes, torch.zeros(2, 8), 6.0, slopes, 6.0, 1, 1)
    torch.library.opcheck(depthwise, arguments)
    assert F.relu(depthwise(*arguments)).isfinite().all()


if __name__ == "__main__":
    if sys.argv[1] == "layers":
        for case in CASES:
            layer_is_right(case)
        edges_have_pytorchs_gradient()
        the_compiler_takes_it()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            assert [proof_fails(torch.device("cpu"), dtype) for dtype in ROUNDING] == ["", "", ""]
    else:
        network_is_right(sys.argv[1])
