"""Networks prepared for many passes forward and back to the input, with frozen weights.

Labelling spends its time there. Two exact rewrites help: batch norms are folded into their convolutions, and on CPU
the input gradient of a depthwise convolution is itself computed as a depthwise convolution, whose kernels are several
times as fast as the ones that PyTorch's backward takes (measured with `benchmarks/faceqan_labels.py`).
"""

import copy
import logging
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

logger = logging.getLogger(__name__)


def frozen_for_attack(network: nn.Module, device: torch.device) -> nn.Module:
    """A copy of a network in evaluation mode, without parameter gradients, rewritten for fast input gradients.

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
        _replace_depthwise(frozen)
    return frozen.to(memory_format=torch.channels_last)


class DepthwiseConv2d(nn.Conv2d):
    """A frozen depthwise convolution whose input gradient is a depthwise convolution too."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled(x.device.type):  # a custom function is not cast by itself
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight = x.to(dtype), weight.to(dtype)
            bias = bias if bias is None else bias.to(dtype)
        return _DepthwiseFunction.apply(x, weight, bias, self.stride[0], self.padding[0])


class _DepthwiseFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.stride, ctx.padding, ctx.shape = stride, padding, x.shape
        return F.conv2d(x, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        (weight,) = ctx.saved_tensors
        (grad,) = grads
        kernel = weight.shape[-1]
        # The transposed convolution, written out: zeros between the rows of a strided one, then a plain one with the
        # kernel turned round.
        height, width = (size + 2 * ctx.padding - kernel + 1 for size in ctx.shape[2:])
        if ctx.stride > 1:
            spread = grad.new_zeros((*grad.shape[:2], height, width)).to(memory_format=torch.channels_last)
            spread[:, :, :: ctx.stride, :: ctx.stride] = grad
            grad = spread
        padding = kernel - 1 - ctx.padding
        return F.conv2d(grad, weight.flip(-1, -2), None, 1, padding, groups=len(weight)), None, None, None, None


def _replace_depthwise(module: nn.Module) -> None:
    for child in module.modules():
        if isinstance(child, nn.Conv2d) and _is_plain_depthwise(child):
            child.__class__ = DepthwiseConv2d


def _is_plain_depthwise(conv: nn.Conv2d) -> bool:
    return (
        conv.groups == conv.in_channels == conv.out_channels > 1
        and conv.kernel_size[0] == conv.kernel_size[1]
        and conv.stride[0] == conv.stride[1]
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and isinstance(conv.padding, tuple)
        and conv.padding[0] == conv.padding[1] < conv.kernel_size[0]
    )
