"""Quality networks in training: which parameters learn, frozen batch norms, and a teacher beside them."""

from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from train.data.dataset import normalised
from train.fitting.settings import FitSettings
from train.fitting.supervised import LossFunction, Supervised, parameter_group
from train.fitting.task import Batch, Terms
from train.networks import QualityNetwork, Variant
from train.networks.norms import fuse_frozen_norms


def quality_task(
    network: QualityNetwork,
    variant: Variant,
    train_set: Dataset[dict[str, Any]],
    loss: LossFunction,
    settings: FitSettings,
) -> Supervised:
    """Return the task of training a quality network.

    Args:
        network: Trained in place; what `settings.groups` leave over is frozen at once.
        variant: Its normalisation.
        train_set: Items with `image` and the loss's targets, by (epoch, index).
        loss: Takes features (N, D), prediction (N, 1), batch and training; see `LossFunction`.
        settings: See `FitSettings`.
    """
    module = partial(FeaturesAndQuality, frozen_norm=settings.frozen_norm)
    groups = parameter_groups(network, settings)
    return Supervised(network, module, groups, variant.mean, variant.std, train_set, loss, settings)


class FeaturesAndQuality(nn.Module):
    """The network with both outputs from `forward`.

    Args:
        network: The network.
        frozen_norm: Keep the backbone's batch norms as they are, statistics included; see `fuse_frozen_norms`.
    """

    def __init__(self, network: QualityNetwork, frozen_norm: bool) -> None:
        super().__init__()
        self.network = network
        self._norms = batch_norms(network.base_model) if frozen_norm else []
        if frozen_norm:
            fuse_frozen_norms(network.base_model)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised RGB (N, 3, 112, 112) -> features (N, D), quality (N, 1)."""
        return self.network.features_and_quality(images)

    def train(self, mode: bool = True) -> "FeaturesAndQuality":
        """Set the mode of all but frozen norms, which are never in training."""
        super().train(mode)
        for norm in self._norms:
            norm.eval()
        return self


class TaughtLoss:
    """A loss with the embeddings of a frozen teacher, which looks at the faces as they are trained on.

    Args:
        loss: Its batch gets `teacher`, float32 (N, D): the teacher's embeddings of the batch's `aligned` faces.
        network: Its backbone as it is now is the teacher; it is copied.
        variant: Normalisation of the faces.
    """

    def __init__(self, loss: LossFunction, network: QualityNetwork, variant: Variant) -> None:
        self._loss, self._variant = loss, variant
        self._teacher = deepcopy(network.base_model).eval().requires_grad_(False)

    def __call__(self, features: Tensor, prediction: Tensor, batch: Batch, training: bool) -> Terms:
        faces = normalised(batch["aligned"], self._variant.mean, self._variant.std)
        with torch.no_grad():
            teacher = self._teacher.to(faces.device)(faces)
        return self._loss(features, prediction, {**batch, "teacher": teacher}, training)


def parameter_groups(network: QualityNetwork, settings: FitSettings) -> list[dict[str, Any]]:
    """Return the groups of `FitSettings` for an optimiser; the other parameters are frozen in place."""
    left = list(network.base_model.parameters())
    if settings.frozen_norm:
        norms = {id(parameter) for norm in batch_norms(network.base_model) for parameter in norm.parameters()}
        for parameter in left:
            parameter.requires_grad_(id(parameter) not in norms)
        left = [parameter for parameter in left if id(parameter) not in norms]
    groups = [parameter_group(list(network.mlp.parameters()), settings.groups[0], settings.optimiser)]
    for group in settings.groups[1:]:
        start = 0 if group.tensors < 0 else max(0, len(left) - group.tensors)
        taken, left = left[start:], left[:start]
        if taken:
            groups.append(parameter_group(taken, group, settings.optimiser))
    for parameter in left:
        parameter.requires_grad_(False)
    return groups


def batch_norms(backbone: nn.Module) -> list[nn.Module]:
    """Return all batch norms of a network."""
    return [module for module in backbone.modules() if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]
