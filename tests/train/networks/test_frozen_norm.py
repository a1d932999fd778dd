"""Frozen batch norms computed by the convolutions before them."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.weights import tame_network
from train.networks.cpu_layers import speed_up
from train.networks.norms import fuse_frozen_norms


def outputs_and_gradients(network: nn.Module, x: Tensor) -> list[Tensor]:
    """The output, and the gradients of the input and of all parameters that learn."""
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    output = network(x)
    return [output.detach(), *torch.autograd.grad(output.square().sum(), [x, *learned])]


@pytest.mark.parametrize("name", ["mobilefacenet128", "mobilefacenet", "iresnet18"])
@pytest.mark.parametrize("fast", [False, True])
def test_fused_norms_change_no_value_and_no_gradient(name: str, fast: bool) -> None:
    network = tame_network(name).eval().double()
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.requires_grad_(False)
    fused = copy.deepcopy(network)
    if fast:
        speed_up(fused)
    fuse_frozen_norms(fused)
    fuse_frozen_norms(fused)  # a second time changes nothing
    x = torch.randn(1, 3, 112, 112, dtype=torch.double, requires_grad=True, generator=torch.manual_seed(0))
    for found, wanted in zip(outputs_and_gradients(fused, x), outputs_and_gradients(network, x), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)
    assert fused.state_dict().keys() == network.state_dict().keys()
    assert norms_that_pass(fused) > 0.5 * norms_that_pass(network, (nn.BatchNorm2d,))


def norms_that_pass(network: nn.Module, kinds: tuple[Any, ...] = ()) -> int:
    """Count the norms that leave their input alone, or those of some types."""
    return sum(type(module) in kinds if kinds else type(module).__name__ == "_Passing" for module in network.modules())


def test_a_copy_of_a_fused_network_has_its_own_norms() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).eval()
    fuse_frozen_norms(network)
    copied = copy.deepcopy(network)
    before = network(torch.ones(1, 1, 1, 1))
    copied[1].bias.data.fill_(7.0)
    torch.testing.assert_close(network(torch.ones(1, 1, 1, 1)), before)
    torch.testing.assert_close(copied(torch.ones(1, 1, 1, 1)), before + 7)
