"""DamageNet: a small network that tells which damage a crop has, how strong it is, and how far the head is turned."""

import torch
from torch import Tensor, nn

from train.detector.network import Separable
from train.reasons.outputs import OUTPUTS


class DamageNet(nn.Module):
    """Normalised RGB (N, 3, 112, 112) to `OUTPUTS`, each in [0, 1].

    Noise, blur and blocks are textures, and they are everywhere in the crop. So the last layers see the means of early,
    fine features, too, and not only of the last, coarse ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.stage4 = nn.Sequential(Separable(16, 48, 2), Separable(48, 48), Separable(48, 48))
        self.stage8 = nn.Sequential(Separable(48, 96, 2), Separable(96, 96), Separable(96, 96))
        self.stage16 = nn.Sequential(Separable(96, 128, 2), Separable(128, 128))
        self.head = nn.Sequential(nn.Linear(16 + 48 + 96 + 128, 96), nn.ReLU(), nn.Linear(96, len(OUTPUTS)))

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of `forward`, float32."""
        levels = [self.stem(x)]
        for stage in (self.stage4, self.stage8, self.stage16):
            levels.append(stage(levels[-1]))
        return self.head(torch.cat([level.mean((2, 3)) for level in levels], 1)).float()

    def forward(self, x: Tensor) -> Tensor:
        """Return the values of `OUTPUTS`, (N, 9)."""
        return self.logits(x).sigmoid()
