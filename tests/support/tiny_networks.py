"""Networks that train in milliseconds."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from train.fitting.quality import quality_task
from train.fitting.settings import FREE, FitSettings
from train.fitting.supervised import LossFunction
from train.networks import QualityNetwork, Variant
from train.run_state import RunRecord


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


def fit_tiny(
    network: QualityNetwork,
    train_set: Dataset[Any],
    validation_set: Dataset[Any],
    loss: LossFunction,
    settings: FitSettings,
    out: Path,
) -> Path:
    """Train such a network; the settings alone decide whether two runs are the same."""
    task = quality_task(network, TINY, train_set, loss, settings)
    return task.fit(validation_set, out, RunRecord(asdict(settings), {}, FREE))
