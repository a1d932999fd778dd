"""The UNet that restores faces in DifFIQA, with the keys and shapes of the published checkpoint.

Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020, with linear attention (Shen et al.,
"Efficient Attention: Attention with Linear Complexities", WACV 2021) at every resolution and weight-standardised
convolutions (Qiao et al., 2019).
"""

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS = 4
HEAD_WIDTH = 32
INNER = HEADS * HEAD_WIDTH
GROUPS = 8
MULTIPLIERS = (1, 2, 4, 8)
"""The published ones, see `UNet`."""


def epsilon_of(values: Tensor) -> float:
    """Return the number that keeps a normalisation of these values from a division by zero."""
    return 1e-5 if values.dtype == torch.float32 else 1e-3


class UNet(nn.Module):
    """RGB (N, 3, H, W) in [-1, 1] and steps (N,) -> (N, 3, H, W).

    There is a level, that is a resolution, for each multiplier. H and W are 112 here; they are halved between levels.

    Args:
        width: Channels at the first resolution, a multiple of 8: 128 as published (142.9 M parameters).
        multipliers: Channels at the end of each level, in widths.
    """

    def __init__(self, width: int = 128, multipliers: Sequence[int] = MULTIPLIERS) -> None:
        super().__init__()
        widths = [width] + [width * multiplier for multiplier in multipliers]
        pairs = list(pairwise(widths))
        time, top = 4 * width, widths[-1]
        self.init_conv = nn.Conv2d(3, width, 7, padding=3)
        self.time_mlp = nn.Sequential(StepEmbedding(width), nn.Linear(width, time), nn.GELU(), nn.Linear(time, time))
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level, (inside, outside) in enumerate(pairs):
            last = level == len(pairs) - 1
            smaller = nn.Conv2d(inside, outside, 3, padding=1) if last else nn.Conv2d(inside, outside, 4, 2, 1)
            blocks = [ResidualBlock(inside, inside, time), ResidualBlock(inside, inside, time)]
            self.downs.append(nn.ModuleList([*blocks, Residual(PreNorm(inside, LinearAttention(inside))), smaller]))
        self.mid_block1 = ResidualBlock(top, top, time)
        self.mid_attn = Residual(PreNorm(top, Attention(top)))
        self.mid_block2 = ResidualBlock(top, top, time)
        for level, (inside, outside) in enumerate(reversed(pairs)):
            conv = nn.Conv2d(outside, inside, 3, padding=1)
            larger = conv if level == len(pairs) - 1 else nn.Sequential(nn.Upsample(scale_factor=2), conv)
            blocks = [ResidualBlock(outside + inside, outside, time), ResidualBlock(outside + inside, outside, time)]
            self.ups.append(nn.ModuleList([*blocks, Residual(PreNorm(outside, LinearAttention(outside))), larger]))
        self.final_res_block = ResidualBlock(2 * width, width, time)
        self.final_conv = nn.Conv2d(width, 3, 1)

    def forward(self, images: Tensor, steps: Tensor) -> Tensor:
        x = start = self.init_conv(images.to(self.init_conv.weight.dtype))
        time = self.time_mlp(steps)
        skips = []
        for level in self.downs:
            first, second, attention, resize = cast(nn.ModuleList, level)
            x = first(x, time)
            skips.append(x)
            x = attention(second(x, time))
            skips.append(x)
            x = resize(x)
        x = self.mid_block2(self.mid_attn(self.mid_block1(x, time)), time)
        for level in self.ups:
            first, second, attention, resize = cast(nn.ModuleList, level)
            x = first(torch.cat([x, skips.pop()], 1), time)
            x = second(torch.cat([x, skips.pop()], 1), time)
            x = resize(attention(x))
        return self.final_conv(self.final_res_block(torch.cat([x, start], 1), time))


class StepEmbedding(nn.Module):
    """Steps (N,) -> (N, width): sines, then cosines, of frequencies from 1 down to 1 / 10,000."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.dtype = torch.float32

    def forward(self, steps: Tensor) -> Tensor:
        half = self.width // 2
        exponents = torch.arange(half, device=steps.device) * (-math.log(10_000) / (half - 1))
        angles = steps[:, None].float() * exponents.exp()
        return torch.cat([angles.sin(), angles.cos()], 1).to(self.dtype)


class StandardisedConv2d(nn.Conv2d):
    """A convolution that first scales each of its filters to mean 0 and variance 1."""

    def standardised(self) -> Tensor:
        """Return the weight that the convolution uses."""
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), correction=0, keepdim=True)
        return (self.weight - mean) * (variance + epsilon_of(self.weight)).rsqrt()

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.standardised(), self.bias)


class Block(nn.Module):
    """Convolution, group norm, scale and shift where given, SiLU."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.proj: nn.Conv2d = StandardisedConv2d(inside, outside, 3, padding=1)
        self.norm = nn.GroupNorm(GROUPS, outside)

    def forward(self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        x = self.norm(self.proj(x))
        if scale is not None and shift is not None:
            x = torch.addcmul(shift, x, scale + 1)
        return F.silu(x)


class _HalfBlock(Block):
    """The same in half precision and channels-last, where PyTorch's own group norm would copy to float32 and back."""

    def forward(self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        x = self.proj(x)
        (count, width), groups = x.shape[:2], self.norm.num_groups
        values = x.permute(0, 2, 3, 1).reshape(count, -1, groups, width // groups)
        mean = values.mean((1, 3), dtype=torch.float32)
        squares = torch.linalg.vector_norm(values, dim=(1, 3), dtype=torch.float32).square()
        variance = squares / (values.shape[1] * values.shape[3]) - mean.square()
        spread = (variance.clamp(min=0) + self.norm.eps).rsqrt()
        gain = spread.repeat_interleave(width // groups, 1) * self.norm.weight
        offset = self.norm.bias - mean.repeat_interleave(width // groups, 1) * gain
        if scale is not None and shift is not None:
            factor = scale[..., 0, 0].float() + 1
            gain, offset = gain * factor, offset * factor + shift[..., 0, 0]
        gain, offset = (value.to(x.dtype)[..., None, None] for value in (gain, offset))
        return F.silu(torch.addcmul(offset, x, gain), inplace=True)


class ResidualBlock(nn.Module):
    """Two blocks, the first one scaled and shifted by the step."""

    def __init__(self, inside: int, outside: int, time: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * outside))
        self.block1 = Block(inside, outside)
        self.block2 = Block(outside, outside)
        self.res_conv = nn.Identity() if inside == outside else nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.mlp(time)[..., None, None].chunk(2, 1)
        return self.block2(self.block1(x, scale, shift)) + self.res_conv(x)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each position, with a gain only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, width, 1, 1))
        self.epsilon: float | None = None

    def forward(self, x: Tensor) -> Tensor:
        epsilon = self.epsilon or epsilon_of(x)
        last = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), self.g.flatten(), None, epsilon)
        return last.permute(0, 3, 1, 2)


class Residual(nn.Module):
    """`fn(x) + x`."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(x) + x


class PreNorm(nn.Module):
    """`fn` after a channel norm."""

    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn
        self.norm = ChannelNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))


class LinearAttention(nn.Module):
    """Attention whose cost grows with the number of positions, not with its square."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_qkv = nn.Conv2d(width, 3 * INNER, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(INNER, width, 1), ChannelNorm(width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = _heads(self.to_qkv(x))
        context = k.softmax(-2).transpose(-1, -2) @ v * (HEAD_WIDTH**-0.5 / v.shape[-2])
        return self.to_out(_image(q.softmax(-1) @ context, x))


class Attention(nn.Module):
    """Attention by l2-normalised queries and keys, times 10.

    Each feature is normalised over the positions, as in the published code, and not each position over its features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_qkv = nn.Conv2d(width, 3 * INNER, 1, bias=False)
        self.to_out = nn.Conv2d(INNER, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = _heads(self.to_qkv(x))
        mixed = F.scaled_dot_product_attention(F.normalize(q, dim=-2), F.normalize(k, dim=-2), v, scale=10.0)
        return self.to_out(_image(mixed, x))


def _heads(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split (N, 3 * INNER, H, W) into queries, keys and values (N, HEADS, H * W, HEAD_WIDTH)."""
    q, k, v = qkv.reshape(len(qkv), 3, HEADS, HEAD_WIDTH, -1).transpose(-1, -2).unbind(1)
    return q, k, v


def _image(values: Tensor, like: Tensor) -> Tensor:
    """Turn (N, HEADS, H * W, HEAD_WIDTH) into (N, INNER, H, W), in channels-last layout."""
    return values.permute(0, 2, 1, 3).reshape(len(like), *like.shape[2:], INNER).permute(0, 3, 1, 2)


def frozen_unet(unet: UNet, dtype: torch.dtype = torch.float32, compiled: bool = False) -> UNet:
    """Return a copy for inference, in which the filters are scaled once and not in each call.

    Args:
        unet: The network.
        dtype: Of the copy's weights and activations. Half precision is for GPUs; it keeps the epsilons of float32, and
            norms are computed in float32 without leaving half precision in memory.
        compiled: The copy will be compiled: its norms stay PyTorch's own, which the compiler fuses.
    """
    frozen = copy.deepcopy(unet).eval().requires_grad_(False)
    for module in frozen.modules():
        if isinstance(module, Block):
            module.proj = _plain(module.proj)
    if dtype != torch.float32:
        for module in frozen.to(dtype).modules():
            if isinstance(module, Block) and not compiled:
                module.__class__ = _HalfBlock
            elif isinstance(module, StepEmbedding):
                module.dtype = dtype
            elif isinstance(module, ChannelNorm):
                module.epsilon = epsilon_of(torch.empty(0))
    return frozen


def _plain(conv: nn.Conv2d) -> nn.Conv2d:
    if not isinstance(conv, StandardisedConv2d):
        return conv
    device, dtype = conv.weight.device, conv.weight.dtype
    plain = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1, device=device, dtype=dtype)
    plain.requires_grad_(False)
    plain.load_state_dict({"weight": conv.standardised(), "bias": conv.bias})
    return plain
