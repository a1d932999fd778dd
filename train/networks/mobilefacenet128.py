"""MobileFaceNet with ReLU6 and 128 values: the backbone of fiqa-nano.

Module names follow the published `mobilefacenet128` face-recognition checkpoint (Apache-2.0). It has no PReLU, so it
quantises well and runs fast everywhere.
"""

from torch import Tensor, nn

BLOCKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""(expansion, width, count, stride of the first) of each group of inverted residuals."""


def conv_bn_relu6(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Make a convolution without bias, which keeps the size at stride 1, with batch norm and ReLU6."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """MobileNetV2's block (Sandler et al., CVPR 2018, section 3.3)."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.conv = nn.Sequential(
            conv_bn_relu6(inputs, hidden),
            conv_bn_relu6(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class SeparableConv(nn.Module):
    """3x3 depthwise and 1x1 pointwise convolution, each with batch norm and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.depthwise(x)))
        return self.relu(self.bn2(self.pointwise(x)))


class GlobalDepthwiseConv(nn.Module):
    """7x7 depthwise convolution in place of global pooling, with batch norm (MobileFaceNets, section 3.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.depthwise(x))


class MobileFaceNet128(nn.Module):
    """Face (N, 3, 112, 112), ImageNet-normalised RGB -> embedding (N, 128), not l2-normalised."""

    embedding_size = 128

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv_bn_relu6(3, 64, 3, 2)
        self.dw_conv = SeparableConv(64)
        blocks: list[nn.Module] = []
        inputs = 64
        for expansion, width, count, stride in BLOCKS:
            for index in range(count):
                blocks.append(InvertedResidual(inputs, width, stride if index == 0 else 1, expansion))
                inputs = width
        self.features = nn.Sequential(*blocks)
        self.conv2 = conv_bn_relu6(inputs, 512)
        self.gdconv = GlobalDepthwiseConv(512)
        self.conv3 = nn.Conv2d(512, self.embedding_size, 1)
        self.bn = nn.BatchNorm2d(self.embedding_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.embedding(self.before_embedding(x))

    def before_embedding(self, x: Tensor) -> Tensor:
        """Return the values (N, 512) that the last layer makes the embedding of."""
        return self.gdconv(self.conv2(self.features(self.dw_conv(self.conv1(x))))).flatten(1)

    def embedding(self, values: Tensor) -> Tensor:
        """Return the embedding (N, 128) of the values of `before_embedding`."""
        return self.bn(self.conv3(values[..., None, None])).flatten(1)
