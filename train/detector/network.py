"""FaceCells: a one-stage face detector with five landmarks, of the kind and size of YuNet.

Depthwise separable residual blocks down to strides 8, 16 and 32, a top-down path, and a head a level. Without anchors:
every cell of a level says whether a face is centred there, and where its box and its landmarks are.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdk.detection.networks import STRIDES

VALUES = 15
"""A cell's values: face or not; middle of the box (2) and logarithm of its size (2), in strides from the cell's middle;
landmarks (10), in widths and heights of the box from its middle."""

PRIOR = 0.01
"""Share of cells that hold a face, roughly: the confidence that a fresh network has in every cell."""

LARGEST = 5.0
"""Largest logarithm of a box's size in strides, see `sdk.detection.networks.decode`."""

BEGIN = (1.2, 1.5, -0.8, -0.5, 0.8, -0.5, 0.0, 0.35, -0.65, 1.0, 0.65, 1.0)
"""Size of the box (its logarithm) and landmarks of a fresh network, in strides: an upright face, 3.3 strides wide."""


class Separable(nn.Module):
    """Depthwise 3 x 3 and pointwise convolution; the input is added where it has the shape of the output."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride))."""
        y = self.bn2(self.pointwise(F.relu(self.bn1(self.depthwise(x)))))
        return F.relu(x + y if self.residual else y)


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(Separable(inputs, outputs, 2), *(Separable(outputs, outputs) for _ in range(blocks)))


class Branch(nn.Sequential):
    """Some of a level's values; a fresh network gives `begin` in every cell."""

    def __init__(self, width: int, begin: Tensor) -> None:
        last = nn.Conv2d(width, len(begin), 1)
        nn.init.normal_(last.weight, std=0.01)
        last.bias = nn.Parameter(begin)
        super().__init__(Separable(width, width), last)


class Head(nn.Module):
    """All of a level's values.

    The last layers give landmarks relative to the cell's middle, in strides, so that errors of the box do not add to
    theirs. `forward` makes them relative to the box, as all readers of cells take them.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.face = Branch(width, torch.tensor([PRIOR]).logit())
        self.box = Branch(width, torch.tensor([0.0, 0.0, *BEGIN[:2]]))
        self.landmarks = Branch(width, torch.tensor(BEGIN[2:]))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) -> (N, 15, H, W)."""
        face, box, points = self.face(x), self.box(x).float(), self.landmarks(x).float()
        size = box[:, 2:].clamp(max=LARGEST).exp()
        relative = (points - torch.cat([box[:, :2]] * 5, 1)) / torch.cat([size] * 5, 1)
        return torch.cat([face.float(), box, relative], 1)


class FaceCells(nn.Module):
    """The detector: normalised RGB (N, 3, H, W), H and W multiples of 32, to the values of all cells.

    Args:
        width: Channels from stride 8 on.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.stage4 = _stage(16, 32, 1)
        self.stage8 = _stage(32, width, 2)
        self.stage16 = _stage(width, width, 3)
        self.stage32 = _stage(width, width, 3)
        self.merge16 = Separable(width, width)
        self.merge8 = Separable(width, width)
        self.heads = nn.ModuleList(Head(width) for _ in STRIDES)

    def cells(self, x: Tensor) -> Tensor:
        """Return the values of all cells, (N, cells, 15): level by level, row by row; the first value is a logit."""
        level8 = self.stage8(self.stage4(self.stem(x)))
        level16 = self.stage16(level8)
        level32 = self.stage32(level16)
        level16 = self.merge16(level16 + F.interpolate(level32, scale_factor=2.0, mode="nearest"))
        level8 = self.merge8(level8 + F.interpolate(level16, scale_factor=2.0, mode="nearest"))
        levels = zip(self.heads, (level8, level16, level32), strict=True)
        return torch.cat([head(level).flatten(2) for head, level in levels], 2).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return `cells` with the first value as a confidence in [0, 1]."""
        cells = self.cells(x)
        return torch.cat([cells[..., :1].sigmoid(), cells[..., 1:]], -1)
