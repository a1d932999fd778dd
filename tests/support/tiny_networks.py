"""Networks that train in milliseconds."""

from torch import Tensor, nn

from train.networks import Variant


class TinyBackbone(nn.Module):
    """A network that trains in milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 5, 4, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.bn(self.conv(x)).relu().mean((2, 3)))


TINY = Variant(TinyBackbone, 16, 8)
