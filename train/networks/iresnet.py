"""IResNet-18/50/100 (backbones of eDifFIQA-S, -M and -L).

Duta et al., "Improved Residual Networks for Image and Video Recognition", ICPR 2020, in the form that ArcFace made
common. Module names follow the published checkpoints.
"""

from collections.abc import Sequence

from torch import Tensor, nn


class IBasicBlock(nn.Module):
    """Batch norm, 3x3, batch norm, PReLU, strided 3x3, batch norm, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        y = self.bn3(self.conv2(y))
        return y + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """Face (N, 3, 112, 112) in [-1, 1] -> embedding (N, 512), not l2-normalised.

    Args:
        blocks: Residual blocks in each of the four stages, for example (3, 13, 30, 3) for IResNet-100.
    """

    embedding_size = 512

    def __init__(self, blocks: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        self.layer1 = _stage(64, 64, blocks[0])
        self.layer2 = _stage(64, 128, blocks[1])
        self.layer3 = _stage(128, 256, blocks[2])
        self.layer4 = _stage(256, 512, blocks[3])
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * 7 * 7, self.embedding_size)
        self.features = nn.BatchNorm1d(self.embedding_size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.features(self.fc(self.bn2(x).flatten(1)))


def _stage(inputs: int, outputs: int, count: int) -> nn.Sequential:
    first = IBasicBlock(inputs, outputs, stride=2)
    return nn.Sequential(first, *(IBasicBlock(outputs, outputs) for _ in range(count - 1)))
