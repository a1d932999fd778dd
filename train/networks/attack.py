"""Frozen networks that are fast in passes forward, and back to the input: labelling spends its time in these."""

import copy
import logging
from functools import cache

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from train.device.compiling import missing_for_triton
from train.networks.depthwise import speed_up_depthwise
from train.networks.depthwise_gpu import fuse_depthwise, has_depthwise
from train.networks.recognition import RecognitionModel

logger = logging.getLogger(__name__)


def frozen_for_attack(network: nn.Module, device: torch.device, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a copy of a network in evaluation mode, without gradients of its parameters, with fast input gradients.

    Batch norms are folded into their convolutions. Depthwise convolutions get a faster backward pass on a CPU, see
    `train.networks.depthwise`, and kernels of their own on a GPU, see `train.networks.depthwise_gpu`. All is exact up
    to rounding.

    Args:
        network: Any module. One that `torch.fx` cannot trace keeps its batch norms. With another `dtype` than float32
            a `RecognitionModel`; it goes on to normalise in float32.
        device: Device of the copy.
        dtype: Of its weights and activations.

    Returns:
        The copy, in channels-last layout.
    """
    frozen = copy.deepcopy(network).eval().requires_grad_(False)
    if dtype != torch.float32:
        assert isinstance(frozen, RecognitionModel)
        frozen.network = _Cast(_fused(frozen.network, device), dtype)
    else:
        frozen = _fused(frozen, device)
    frozen = frozen.requires_grad_(False).to(device)
    return frozen.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _fused(network: nn.Module, device: torch.device) -> nn.Module:
    try:
        network = fuse(network)
    except Exception as error:  # noqa: BLE001 - tracing a user's module can fail in any way, and only costs speed
        logger.info("batch norms stay unfused: %s", error)
    if device.type == "cpu":
        speed_up_depthwise(network)
    elif device.type == "cuda" and has_depthwise(network):
        if missing := missing_for_triton(device):
            _warn(missing)
        else:
            fuse_depthwise(network)
    return network


@cache
def _warn(missing: str) -> None:
    """Warn once, and not for each network of a labeller."""
    logger.warning("depthwise convolutions take seconds to plan and are slower: %s is missing", missing)


class _Cast(nn.Module):
    """A network in another precision, which takes float32."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self._dtype = network.to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.to(self._dtype))
