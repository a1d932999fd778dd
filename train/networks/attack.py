"""Frozen networks that are fast in passes forward, and back to the input: labelling spends its time in these."""

import copy
import logging
from collections import Counter
from functools import cache

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, symbolic_trace
from torch.fx.experimental.optimization import fuse

from train.device.compiling import missing_for_triton
from train.networks.cpu_layers import speed_up
from train.networks.depthwise_gpu import fuse_depthwise, has_depthwise, proof_fails
from train.networks.norms import fold_norms
from train.networks.recognition import RecognitionModel

logger = logging.getLogger(__name__)

_FOLDED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def frozen_for_attack(network: nn.Module, device: torch.device, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a copy of a network in evaluation mode, without gradients of its parameters, with fast input gradients.

    Batch norms are folded into the layers before or after them, see `train.networks.norms`. On a CPU some layers get a
    faster backward pass, see `train.networks.cpu_layers`; on a GPU depthwise convolutions get kernels of their own, see
    `train.networks.depthwise_gpu`. All is exact up to rounding.

    Args:
        network: Any module; of a `RecognitionModel` its network. One that `torch.fx` cannot trace keeps its batch
            norms. With another `dtype` than float32 a `RecognitionModel`; it goes on to normalise in float32.
        device: Device of the copy.
        dtype: Of its weights and activations.

    Returns:
        The copy, in channels-last layout.
    """
    frozen = copy.deepcopy(network).eval().requires_grad_(False)
    if isinstance(frozen, RecognitionModel):  # it looks at the size of faces, which cannot be traced
        fast = _fast(_folded(frozen.network), device, dtype)
        frozen.network = fast if dtype == torch.float32 else _Cast(fast, dtype)
    else:
        assert dtype == torch.float32
        frozen = _fast(_folded(frozen), device, dtype)
    frozen = frozen.requires_grad_(False).to(device)
    return frozen.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _folded(network: nn.Module) -> nn.Module:
    try:
        traced = symbolic_trace(network)
        if not _has_shared_layers(traced):
            return fold_norms(fuse(traced, no_trace=True))
        reason = "a layer is called more than once"
    except Exception as error:  # noqa: BLE001 - tracing a user's module can fail in any way, and only costs speed
        reason = str(error)
    logger.info("batch norms stay unfused: %s", reason)
    return network


def _has_shared_layers(traced: GraphModule) -> bool:
    """Return whether a layer that norms would be folded into is called more than once."""
    calls = Counter(node.target for node in traced.graph.nodes if node.op == "call_module")
    return any(calls[name] > 1 and isinstance(layer, _FOLDED) for name, layer in traced.named_modules())


def _fast(network: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    if device.type == "cpu":
        speed_up(network)
    elif device.type == "cuda" and has_depthwise(network) and _kernels_work(device, dtype):
        fuse_depthwise(network)
    return network


@cache
def _kernels_work(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether a GPU runs the kernels of depthwise convolutions as it should; say once why not."""
    missing = missing_for_triton(device)
    reason = f"{missing} is missing" if missing else proof_fails(device, dtype)
    if reason:
        logger.warning("depthwise convolutions take seconds to plan and are slower: %s", reason)
    return not reason


class _Cast(nn.Module):
    """A network in another precision, which takes float32."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self._dtype = network.to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.to(self._dtype))
