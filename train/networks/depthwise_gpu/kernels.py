"""Triton kernels of depthwise convolutions in channels-last layout, with the activations before and after them.

An activation is `x > 0 ? min(x, cap) : slope * x`, with a slope for each channel: ReLU, ReLU6 and PReLU are cases of
it, so they share compiled kernels. A number for each channel may be added to its input, which is the bias of the
convolution before it: PyTorch adds that in a pass over memory of its own. Sums are in float32.

A 3x3 kernel with stride 1 and padding 1, the usual one, has a kernel of its own that reads each row once.
"""

from math import inf
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

POSITIONS, CHANNELS = 32, 64
"""Tile of the general kernels. 64 channels of 16 bits are one line of 128 bytes of the cache."""

ROWS, COLUMNS = 14, 8
"""Tile of the kernel that walks down rows. Faces of 112 x 112 give sides of 56, 28, 14 and 7."""

WARPS = 4
"""128 threads, each with 4 channels of a column then: their 36 weights stay in registers."""


@triton.jit
def _load(values, start, offsets, mask):
    return tl.load(values + start + offsets, mask=mask, other=0).to(tl.float32)


@triton.jit
def _channel(values, channel, channels):
    """Load a number for each channel."""
    return tl.load(values + channel, mask=channel < channels, other=0).to(tl.float32)[None, :]


@triton.jit
def _slopes(slopes, channel, channels):
    """Load the slopes of an activation; they are 1 where it has no channels, which is no activation."""
    loaded = tl.load(slopes + channel, mask=channel < channels, other=0).to(tl.float32)
    return tl.where(channel < channels, loaded, 1.0)[None, :]


@triton.jit
def _activated(values, slopes, cap):
    return tl.where(values > 0, tl.minimum(values, cap), slopes * values)


@triton.jit
def _derivative(values, slopes, cap):
    """Return the derivative of `_activated`, given its input, or its output if no slope is below 0."""
    return tl.where(values > 0, tl.where(values < cap, 1.0, 0.0), slopes)


@triton.jit
def _input(x, start, offsets, mask, shift, slopes, cap):
    """Load values, shift and activate them. What pads them stays 0."""
    return tl.where(mask, _activated(_load(x, start, offsets, mask) + shift, slopes, cap), 0.0)


@triton.jit
def _gradient(grad, y, start, offsets, mask, known, slopes, cap):
    """Load the gradient of activated values y, and return that of the values before the activation."""
    return _load(grad, start, offsets, mask) * _derivative(_load(y, start, offsets, mask & known), slopes, cap)


_SHAPES = ["height", "width", "out_height", "out_width", "kernel", "stride", "padding"]


@triton.jit
def _tile(down, across, channels, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr):
    """Return image, first row, first column and channels of this program. Neighbours in memory run together."""
    number, parts = tl.program_id(0), tl.cdiv(channels, CHANNELS)
    channel = number % parts * CHANNELS + tl.arange(0, CHANNELS)
    number, parts = number // parts, tl.cdiv(across, COLUMNS)
    column = number % parts * COLUMNS
    number, parts = number // parts, tl.cdiv(down, ROWS)
    return (number // parts).to(tl.int64), number % parts * ROWS, column, channel


@triton.jit(do_not_specialize=_SHAPES)
def _forward(
    x, weight, bias, before, before_channels, before_cap, after, after_channels, after_cap, y,
    height, width, out_height, out_width, channels, kernel, stride, padding,
    POSITIONS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Compute some positions of y of an image, and some channels."""
    image, _, first, channel = _tile(1, out_height * out_width, channels, 1, POSITIONS, CHANNELS)
    shift = _channel(before + channels, channel, before_channels)
    before, after = _slopes(before, channel, before_channels), _slopes(after, channel, after_channels)
    x += image * height * width * channels
    y += image * out_height * out_width * channels
    position = first + tl.arange(0, POSITIONS)
    mask = (position < out_height * out_width)[:, None] & (channel < channels)[None, :]
    top, left = position // out_width * stride - padding, position % out_width * stride - padding
    start = ((top * width + left) * channels)[:, None] + channel[None, :]
    total = tl.zeros((POSITIONS, CHANNELS), tl.float32)
    for row in range(kernel):
        for column in range(kernel):
            inside = (top + row >= 0) & (top + row < height) & (left + column >= 0) & (left + column < width)
            values = _input(
                x, (row * width + column) * channels, start, mask & inside[:, None], shift, before, before_cap
            )
            total += values * _channel(weight + (row * kernel + column) * channels, channel, channels)
    values = _activated(total + _channel(bias, channel, channels), after, after_cap)
    tl.store(y + (position * channels)[:, None] + channel[None, :], values.to(y.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=_SHAPES)
def _backward(
    grad, x, y, weight, before, before_channels, before_cap, after, after_channels, after_cap, x_grad,
    height, width, out_height, out_width, channels, kernel, stride, padding,
    POSITIONS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Compute some squares of stride x stride positions of the gradient of x of an image, and some channels.

    A place within its square decides which weights reach it, so none are multiplied with zeros between rows.
    """
    down, across = tl.cdiv(height, stride), tl.cdiv(width, stride)
    image, _, first, channel = _tile(1, down * across, channels, 1, POSITIONS, CHANNELS)
    shift = _channel(before + channels, channel, before_channels)
    before, after = _slopes(before, channel, before_channels), _slopes(after, channel, after_channels)
    start, own_start = image * out_height * out_width * channels, image * height * width * channels
    position = first + tl.arange(0, POSITIONS)
    mask = (position < down * across)[:, None] & (channel < channels)[None, :]
    saved, known = (channel < before_channels)[None, :], (channel < after_channels)[None, :]
    top, left = position // across, position % across
    for a in range(stride):
        for b in range(stride):
            total = tl.zeros((POSITIONS, CHANNELS), tl.float32)
            # Rows of y that this row of x is part of, from the lowest one up; the same for columns.
            for row in range((a + padding) % stride, kernel, stride):
                for column in range((b + padding) % stride, kernel, stride):
                    out_row, out_column = top + (a + padding - row) // stride, left + (b + padding - column) // stride
                    inside = (out_row >= 0) & (out_row < out_height) & (out_column >= 0) & (out_column < out_width)
                    offsets = ((out_row * out_width + out_column) * channels)[:, None] + channel[None, :]
                    values = _gradient(grad, y, start, offsets, mask & inside[:, None], known, after, after_cap)
                    total += values * _channel(weight + (row * kernel + column) * channels, channel, channels)
            own_row, own_column = top * stride + a, left * stride + b
            own = ((own_row * width + own_column) * channels)[:, None] + channel[None, :]
            here = mask & ((own_row < height) & (own_column < width))[:, None]
            total *= _derivative(_load(x, own_start, own, here & saved) + shift, before, before_cap)
            tl.store(x_grad + own_start + own, total.to(x_grad.dtype.element_ty), mask=here)


@triton.jit(do_not_specialize=["height", "width"])
def _three_by_three(
    source, x, y, weight, bias, before, before_channels, before_cap, after, after_channels, after_cap, target,
    height, width, channels,
    BACKWARD: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Walk down some rows of an image, some columns wide, at stride 1 and padding 1.

    Forward, `source` is x and `target` y. Backward they are the gradients of y and x, and the kernel is turned round.
    A row of the source ends the sum of the target's row above it, is in the middle of its own, and begins the one
    below. So it is read and activated once for three rows.
    """
    image, first, first_column, channel = _tile(height, width, channels, ROWS, COLUMNS, CHANNELS)
    shift = _channel(before + channels, channel, before_channels)
    before, after = _slopes(before, channel, before_channels), _slopes(after, channel, after_channels)
    column = first_column + tl.arange(0, COLUMNS)
    if BACKWARD:
        weight, step = weight + 8 * channels, -channels
    else:
        step = channels
        offset = _channel(bias, channel, channels)
    w00, w01, w02 = _three(weight, step, channel, channels)
    w10, w11, w12 = _three(weight + 3 * step, step, channel, channels)
    w20, w21, w22 = _three(weight + 6 * step, step, channel, channels)
    place = (column * channels)[:, None] + channel[None, :]
    wide = (channel < channels)[None, :]
    saved, known = (channel < before_channels)[None, :], (channel < after_channels)[None, :]
    in_left = wide & ((column >= 1) & (column <= width))[:, None]
    in_middle = wide & (column < width)[:, None]
    in_right = wide & (column + 1 < width)[:, None]
    own = tl.zeros((COLUMNS, CHANNELS), tl.float32)
    below = tl.zeros((COLUMNS, CHANNELS), tl.float32)
    for row in range(first - 1, tl.minimum(first + ROWS, height) + 1):
        start = (image * height + row) * width * channels
        rows = tl.full((COLUMNS, 1), row, tl.int32)  # the interpreter takes no scalar as a mask
        inside, ended = (rows >= 0) & (rows < height), in_middle & (rows > first)
        if BACKWARD:
            left = _gradient(source, y, start - channels, place, in_left & inside, known, after, after_cap)
            middle = _gradient(source, y, start, place, in_middle & inside, known, after, after_cap)
            right = _gradient(source, y, start + channels, place, in_right & inside, known, after, after_cap)
            values = _load(x, start - width * channels, place, ended & saved) + shift
        else:
            left = _input(source, start - channels, place, in_left & inside, shift, before, before_cap)
            middle = _input(source, start, place, in_middle & inside, shift, before, before_cap)
            right = _input(source, start + channels, place, in_right & inside, shift, before, before_cap)
        above = own + (left * w20 + middle * w21 + right * w22)
        own = below + (left * w10 + middle * w11 + right * w12)
        below = left * w00 + middle * w01 + right * w02
        if BACKWARD:
            above *= _derivative(values, before, before_cap)
        else:
            above = _activated(above + offset, after, after_cap)
        tl.store(target + (start - width * channels) + place, above.to(target.dtype.element_ty), mask=ended)


@triton.jit
def _three(weight, step, channel, channels):
    return (
        _channel(weight, channel, channels),
        _channel(weight + step, channel, channels),
        _channel(weight + 2 * step, channel, channels),
    )


def _walks(kernel: int, stride: int, padding: int) -> bool:
    return (kernel, stride, padding) == (3, 1, 1)


def _programs(count: int, channels: int, rows: int, columns: int) -> tuple[int]:
    """Return the grid for tiles, of which there are so many below and beside one another in an image."""
    return (count * rows * columns * triton.cdiv(channels, CHANNELS),)


def _arguments(slopes: Tensor | None, cap: float, stand_in: Tensor) -> tuple[Tensor, int, float]:
    """Return slopes, their channels, and the cap. No channels stand for no activation: kernels are the same then."""
    return (stand_in, 0, inf) if slopes is None else (slopes, slopes.shape[-1], cap)


def _walk(
    source: Tensor, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, activations: tuple[Any, ...], target: Tensor,
    backward: bool,
) -> None:  # fmt: skip
    """Run `_three_by_three`; source and target have the same sizes."""
    count, channels, height, width = target.shape
    _three_by_three[_programs(count, channels, triton.cdiv(height, ROWS), triton.cdiv(width, COLUMNS))](
        source, x, y, weight, bias, *activations, target, height, width, channels,
        backward, ROWS, COLUMNS, CHANNELS, num_warps=WARPS,
    )  # fmt: skip


def forward(
    x: Tensor, weight: Tensor, bias: Tensor, before: Tensor | None, before_cap: float,
    after: Tensor | None, after_cap: float, stride: int, padding: int, y: Tensor,
) -> None:  # fmt: skip
    """Compute y (N, C, H', W') of x (N, C, H, W), both channels-last; see `depthwise` for the rest."""
    (count, channels, height, width), out, kernel = x.shape, y.shape[2:], round(len(weight) ** 0.5)
    activations = (*_arguments(before, before_cap, weight), *_arguments(after, after_cap, weight))
    with torch.cuda.device_of(x):
        if _walks(kernel, stride, padding):
            _walk(x, x, y, weight, bias, activations, y, backward=False)
        else:
            _forward[_programs(count, channels, 1, triton.cdiv(out[0] * out[1], POSITIONS))](
                x, weight, bias, *activations, y, height, width, *out, channels, kernel, stride, padding,
                POSITIONS, CHANNELS, num_warps=WARPS,
            )  # fmt: skip


def backward(
    grad: Tensor, x: Tensor | None, y: Tensor | None, weight: Tensor, before: Tensor | None, before_cap: float,
    after: Tensor | None, after_cap: float, stride: int, padding: int, x_grad: Tensor,
) -> None:  # fmt: skip
    """Compute the gradient of x from that of y. x is needed for an activation before, y for one after."""
    (count, channels, height, width), out, kernel = x_grad.shape, grad.shape[2:], round(len(weight) ** 0.5)
    activations = (*_arguments(before, before_cap, weight), *_arguments(after, after_cap, weight))
    x, y = x_grad if x is None else x, grad if y is None else y  # not read then
    with torch.cuda.device_of(grad):
        if _walks(kernel, stride, padding):
            _walk(grad, x, y, weight, weight, activations, x_grad, backward=True)
        else:
            squares = triton.cdiv(height, stride) * triton.cdiv(width, stride)
            _backward[_programs(count, channels, 1, triton.cdiv(squares, POSITIONS))](
                grad, x, y, weight, *activations, x_grad, height, width, *out, channels, kernel, stride, padding,
                POSITIONS, CHANNELS, num_warps=WARPS,
            )  # fmt: skip
