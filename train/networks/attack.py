"""Frozen networks that are fast in passes forward, and back to the input: labelling spends its time in these."""

import copy
import logging

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from train.networks.depthwise import speed_up_depthwise

logger = logging.getLogger(__name__)


def frozen_for_attack(network: nn.Module, device: torch.device) -> nn.Module:
    """Return a copy of a network in evaluation mode, without gradients of its parameters, with fast input gradients.

    Batch norms are folded into their convolutions, and on a CPU depthwise convolutions get a faster backward pass, see
    `train.networks.depthwise`. Both are exact up to rounding.

    Args:
        network: Any module. One that `torch.fx` cannot trace keeps its batch norms.
        device: Device of the copy.

    Returns:
        The copy, in channels-last layout.
    """
    frozen = copy.deepcopy(network).eval().requires_grad_(False)
    try:
        frozen = fuse(frozen)
    except Exception as error:  # noqa: BLE001 - tracing a user's module can fail in any way, and only costs speed
        logger.info("batch norms stay unfused: %s", error)
    frozen = frozen.requires_grad_(False).to(device)
    if device.type == "cpu":
        speed_up_depthwise(frozen)
    return frozen.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
