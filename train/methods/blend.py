"""Blend: one network that learns several measures of quality, each by an output of its own.

This project's own method. Each output learns the rank of one label with the L1 loss. The score is their weighted mean,
and in the network that is kept one output gives it. So a label that needs names, such as `centre`, and one that needs
none, such as another network's score, teach the same backbone; see docs/fiqa-nano.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sdk.errors import InputError
from train.data.dataset import CutFaces, FaceDataset
from train.data.label_targets import TargetSettings, label_column, ranks
from train.data.labelled import LabelledFaces
from train.fitting.regressor import FitFiles, Objective, Regressor, RegressorRecipe, Split
from train.fitting.task import Batch, Terms


@dataclass(frozen=True, slots=True)
class Blend(Regressor):
    """See `Regressor`. `label` names a column an output, by commas; a face lacking one of them is left out.

    Attributes:
        weights: Weight of each output in the score.
        cuts: Share of the faces that are cut, so that the score does not follow a picture's edge; see
            `train.degradations.framing.cut`.
        moves: How far faces are moved, so that the score does not follow the detector; see
            `train.degradations.framing.move`.
    """

    label: str = "centre,lightqnet"
    weights: tuple[float, ...] = (0.5, 0.5)
    cuts: float = 0.3
    moves: float = 1.0

    def __post_init__(self) -> None:
        count = len(self.label.split(","))
        if len(self.weights) != count or not all(weight >= 0 for weight in self.weights) or not sum(self.weights) > 0:
            raise InputError(f"blend has the weights {self.weights} for {self.label}, wanted {count}, none below 0")
        if not 0 <= self.cuts <= 1:
            raise InputError(f"blend.cuts is {self.cuts}, wanted a share from 0 to 1")
        if not self.moves >= 0:
            raise InputError(f"blend.moves is {self.moves}, wanted 0 or more")

    @property
    def weights_of_outputs(self) -> tuple[float, ...]:
        """The weights, of sum 1."""
        return tuple(weight / sum(self.weights) for weight in self.weights)

    def targets(self, data: LabelledFaces, settings: TargetSettings) -> NDArray[np.float32]:
        """Return the ranks (M, outputs) of the labels; the section `targets` is not used.

        Raises:
            InputError: The section is there, or a label is all one value.
        """
        if settings != TargetSettings():
            raise InputError("a recipe with blend has no targets: it learns the ranks of its labels; leave them out")
        columns = (label_column(data.manifest, name)[data.rows] for name in self.label.split(","))
        return np.stack([ranks(column, data.clean) for column in columns], axis=1)

    def objective(self, data: LabelledFaces) -> Objective:
        """Take all faces."""
        return Objective(data, partial(_loss, self.label.split(",")))

    def data_sets(self, split: Split, recipe: RegressorRecipe, files: FitFiles) -> tuple[FaceDataset, FaceDataset]:
        """Return the faces to train on, some of them cut, moved and flipped; and those to validate on, as they are."""
        how, manifest, targets = recipe.training, split.manifest, split.targets
        return (
            CutFaces(manifest, split.train, targets, self.cuts, self.moves, how.flip, how.seed, how.cache),
            FaceDataset(manifest, split.validation, targets, cache=how.cache),
        )


def _loss(names: Sequence[str], features: Tensor, prediction: Tensor, batch: Batch, training: bool) -> Terms:
    errors = (prediction - batch["label"]).abs().mean(dim=0)
    return {"total": errors.mean(), **dict(zip(names, errors, strict=True))}
