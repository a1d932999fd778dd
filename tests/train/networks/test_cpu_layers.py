"""Fast layers against those of torch."""

import pytest
import torch
from torch import nn

from train.networks.cpu_layers import DepthwiseConv2d, PReLU, speed_up


@pytest.mark.parametrize(("stride", "kernel", "padding"), [(1, 3, 1), (2, 3, 1), (1, 7, 0), (2, 5, 2)])
def test_fast_depthwise_has_the_same_gradients(stride: int, kernel: int, padding: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(8, 8, kernel, stride, padding, groups=8).double()
    fast = nn.Conv2d(8, 8, kernel, stride, padding, groups=8).double()
    fast.load_state_dict(plain.state_dict())
    speed_up(fast)
    assert type(fast) is DepthwiseConv2d
    x = torch.randn(2, 8, 14, 15, dtype=torch.double, requires_grad=True)
    wanted = torch.autograd.grad(plain(x).square().sum(), [x, *plain.parameters()])
    found = torch.autograd.grad(fast(x).square().sum(), [x, *fast.parameters()])
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("shape", [(3, 8), (3, 8, 5), (2, 8, 6, 7)])
@pytest.mark.parametrize("dtype", [torch.double, torch.bfloat16])
@pytest.mark.parametrize("frozen", [False, True])
def test_fast_prelu_has_the_same_gradients(shape: tuple[int, ...], dtype: torch.dtype, frozen: bool) -> None:
    """Slopes below 0, of 0 and above 1; inputs of exactly 0."""
    torch.manual_seed(0)
    plain, fast = nn.PReLU(8).to(dtype), nn.PReLU(8).to(dtype)
    for module in (plain, fast):
        module.weight.data.copy_(torch.tensor([-0.5, 0, 0.1, 0.25, 0.3, 0.9, 1, 1.5]))
        module.requires_grad_(not frozen)
    speed_up(fast)
    assert type(fast) is PReLU
    x = torch.randn(shape).to(dtype)
    x.flatten()[::3] = 0
    grad = torch.randn(shape).to(dtype)
    found, wanted = (gradients(module, x, grad) for module in (fast, plain))
    assert len(found) == 2 + (not frozen)
    for ours, theirs in zip(found, wanted, strict=True):
        within = {} if dtype == torch.double else {"rtol": 0.02, "atol": 0.02}
        torch.testing.assert_close(ours, theirs, **within)


def gradients(module: nn.Module, x: torch.Tensor, grad: torch.Tensor) -> list[torch.Tensor]:
    """Output, and gradients of what wants one."""
    leaf = x.clone().requires_grad_()
    output = module(leaf)
    wanting = [leaf, *(value for value in module.parameters() if value.requires_grad)]
    return [output.detach(), *torch.autograd.grad(output, wanting, grad)]


def test_a_prelu_of_one_slope_stays() -> None:
    one = nn.PReLU()
    speed_up(one)
    assert type(one) is nn.PReLU


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_gives_what_it_gave(dtype: torch.dtype) -> None:
    plain, fast = nn.PReLU(4), nn.PReLU(4)
    speed_up(fast)
    x, grad = torch.randn(2, 4, 3, 3).to(dtype), torch.ones(2, 4, 3, 3, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found, wanted = (gradients(module, x, grad) for module in (fast, plain))
    assert [value.dtype for value in found] == [value.dtype for value in wanted]
    torch.testing.assert_close(found[:2], wanted[:2])
    torch.testing.assert_close(found[2], wanted[2], rtol=0.02, atol=0.02)
