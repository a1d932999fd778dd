"""Fast depthwise convolutions against those of torch."""

import pytest
import torch
from torch import nn

from train.networks.depthwise import DepthwiseConv2d, speed_up_depthwise


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
