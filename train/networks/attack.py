"""Frozen networks, prepared for many passes forward and back to the input: labelling spends its time there."""

import copy
import logging

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from train.networks.depthwise import speed_up_depthwise

logger = logging.getLogger(__name__)


def frozen_for_attack(network: nn.Module, device: torch.device) -> nn.Module:
    """A copy of a network in evaluation mode, without parameter gradients, rewritten for fast input gradients.

    Two exact rewrites: batch norms are folded into their convolutions, and on a CPU the input gradients of depthwise
    convolutions are computed as such.

    Args:
        network: Any module; one that `torch.fx` cannot trace is left unfused.
        device: Where the copy goes.

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
