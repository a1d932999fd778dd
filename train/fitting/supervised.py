"""Networks that learn from images with targets and are validated on others: regressors, and the face detector."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from train.data.dataset import normalised
from train.fitting.settings import FitSettings, Group, learning_rate, validation_due
from train.fitting.task import Batch, Optimisation, Terms, fused
from train.fitting.trainer import Trainer
from train.fitting.validation import Validation
from train.run_state import RunRecord

LossFunction = Callable[..., Terms]
"""(what the network gives, batch, training) -> terms of the loss.

A regressor gives features and prediction."""

_OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


@dataclass(frozen=True, slots=True)
class Supervised:
    """A task: images, uint8 RGB, with targets.

    Attributes:
        network: Trained in place.
        module: Makes the module whose `forward` takes normalised images and gives a tuple of all that the loss takes.
        groups: Parameters and how they are trained, see `parameter_group`.
        mean: Subtracted from RGB in [0, 1].
        std: Divides what is left.
        train_set: Items with `image` and the loss's targets, by (epoch, index).
        loss: See `LossFunction`.
        settings: See `FitSettings`.
    """

    network: nn.Module
    module: Callable[[Any], nn.Module]
    groups: list[dict[str, Any]]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    train_set: Dataset[dict[str, Any]]
    loss: LossFunction
    settings: FitSettings

    @property
    def loss_scale(self) -> float:
        """See `Task`."""
        return self.settings.loss_scale

    @property
    def body(self) -> nn.Module:
        """See `Task`."""
        backbone = getattr(self.network, "base_model", self.network)
        assert isinstance(backbone, nn.Module)
        return backbone

    def module_of(self, network: nn.Module) -> nn.Module:
        """See `Task`."""
        return self.module(network)

    def optimisation(self, passes: int) -> Optimisation:
        """See `Task`."""
        settings, steps = self.settings, self.settings.epochs * passes

        def averages(step: int) -> bool:
            return settings.schedule != "swa" or validation_due(settings, step, steps)

        def rate(base: float, step: int) -> float:
            return learning_rate(settings, base, step, steps)

        optimiser = _OPTIMISERS[settings.optimiser](self.groups, fused=fused(self.network) or None)
        return Optimisation(optimiser, steps, rate=rate, clip=settings.clip, averages=averages)

    def terms(self, module: Callable[..., Any], batch: Batch, training: bool) -> Terms:
        """See `Task`."""
        images = normalised(batch["image"], self.mean, self.std)
        return self.loss(*module(images.contiguous(memory_format=torch.channels_last)), batch, training)

    def fit(self, validation_set: Dataset[dict[str, Any]], out: Path, record: RunRecord) -> Path:
        """Train; a run that was interrupted goes on where it stopped.

        Args:
            validation_set: As `train_set`.
            out: Folder for `best.safetensors`, `last.safetensors`, `history.json`, `state.pt` and TensorBoard's logs.
            record: What decides the weights.

        Returns:
            Path of `best.safetensors`.

        Raises:
            InputError: `state.pt` in the folder is of a run with another record, another run is writing there, the
                precision needs another device, or the validation loss is no number.
            OutputError: The disk is full; started again, the run goes on.
        """
        Trainer(self, Validation(validation_set, self.settings, out), self.settings, out, record).run()
        return out / "best.safetensors"


def parameter_group(parameters: list[nn.Parameter], group: Group, optimiser: str) -> dict[str, Any]:
    """Return a parameter group as torch's optimisers take it; SGD alone has a momentum."""
    momentum = {"momentum": group.momentum} if optimiser == "sgd" else {}
    return {"params": parameters, "lr": group.lr, "weight_decay": group.weight_decay, **momentum}
