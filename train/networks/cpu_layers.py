"""Layers whose backward pass is fast on a CPU.

- PyTorch's backward pass for the input of a depthwise convolution is several times slower than the forward pass. It is
  a depthwise convolution itself, so it can run as one. Measured with `benchmarks/faceqan_labels.py` and in
  docs/fiqa-nano.md: twice as fast for labelling and for training MobileFaceNets in bfloat16.
- PyTorch's backward pass of PReLU computes what the slopes' gradient is the sum of, also where no slope wants one, and
  in bfloat16 it is slow beside that. See `PReLU`.
"""

from typing import Any, TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that computes its input's gradient with a depthwise convolution."""

    def forward(self, x: Tensor) -> Tensor:
        return depthwise(x, self.weight, self.bias, self.stride[0], int(self.padding[0]))


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """Convolve each channel with a kernel of its own; see `DepthwiseConv2d`."""
    if torch.is_autocast_enabled(x.device.type):  # autocast does not reach into a custom function
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(dtype), weight.to(dtype)
        bias = bias if bias is None else bias.to(dtype)
    return _DepthwiseFunction.apply(x, weight, bias, stride, padding)  # type: ignore[no-untyped-call]


class _DepthwiseFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        ctx.stride, ctx.padding, ctx.shape = stride, padding, x.shape
        return F.conv2d(x, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        x_grad = weight_grad = bias_grad = None
        if ctx.needs_input_grad[0]:
            x_grad = _input_gradient(grad, weight, ctx.stride, ctx.padding, ctx.shape)
        if ctx.needs_input_grad[1]:
            stride, padding = [ctx.stride] * 2, [ctx.padding] * 2
            mask = [False, True, False]
            _, weight_grad, _ = torch.ops.aten.convolution_backward(
                grad, x, weight, None, stride, padding, [1, 1], False, [0, 0], len(weight), mask
            )
        if ctx.needs_input_grad[2]:
            bias_grad = grad.sum((0, 2, 3))
        return x_grad, weight_grad, bias_grad, None, None


def _input_gradient(grad: Tensor, weight: Tensor, stride: int, padding: int, shape: torch.Size) -> Tensor:
    """Return the input's gradient: a convolution of the output's gradient with the kernel turned round.

    Where the stride is above 1, zeros are put between the values of the output's gradient first.
    """
    kernel = weight.shape[-1]
    if stride > 1:
        height, width = (size + 2 * padding - kernel + 1 for size in shape[2:])
        spread = grad.new_zeros((*grad.shape[:2], height, width)).to(memory_format=torch.channels_last)
        spread[:, :, ::stride, ::stride] = grad
        grad = spread
    return F.conv2d(grad, weight.flip(-1, -2), None, 1, kernel - 1 - padding, groups=len(weight))


class PReLU(nn.PReLU):
    """A PReLU with a slope a channel whose gradients are a few operations that are fast in any precision."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, _PReLUFunction.apply(x, self.weight))  # type: ignore[no-untyped-call]


class _PReLUFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slopes: Tensor) -> Tensor:
        y = F.prelu(x, slopes.to(x.dtype))  # in another precision than x, where autocast says so
        ctx.save_for_backward(x.to(y.dtype), slopes)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (grad,), (x, slopes) = grads, ctx.saved_tensors
        x_grad = slopes_grad = None
        if ctx.needs_input_grad[0]:
            above = torch.ops.aten.threshold_backward(grad, x, 0)  # the gradient where x is above 0, and 0 elsewhere
            x_grad = above.lerp(grad, slopes.to(grad.dtype).view(-1, *[1] * (x.ndim - 2)))
        if ctx.needs_input_grad[1]:
            rest = [axis for axis in range(x.ndim) if axis != 1]
            slopes_grad = (grad * x.clamp(max=0)).sum(rest, dtype=slopes.dtype)
        return x_grad, slopes_grad


def speed_up(network: nn.Module) -> None:
    """Turn the plain depthwise convolutions and PReLUs of a network into those above, in place. Keys stay."""
    for child in network.modules():
        if is_plain_depthwise(child):
            child.__class__ = DepthwiseConv2d
        elif type(child) is nn.PReLU and child.num_parameters > 1:
            child.__class__ = PReLU


def is_plain_depthwise(module: nn.Module | None) -> TypeGuard[nn.Conv2d]:
    """Return True for a depthwise convolution that is the same in both directions, without dilation."""
    if type(module) is not nn.Conv2d:
        return False
    return (
        module.groups == module.in_channels == module.out_channels > 1
        and module.kernel_size[0] == module.kernel_size[1]
        and module.stride[0] == module.stride[1]
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and isinstance(module.padding, tuple)
        and module.padding[0] == module.padding[1] < module.kernel_size[0]
    )
