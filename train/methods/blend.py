"""Blend: one network that learns several measures of quality, each by an output of its own.

This project's own method. Each output learns the rank of a label with the L1 loss. The score is their weighted mean,
and in the network that is kept one output gives it. So a label that needs names, such as `centre`, and one that needs
none, such as another network's score, teach the same backbone; see docs/methods/blend.md.
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
class Output:
    """What one output learns: `1 - (1 - rank) ** curve` of a label.

    Attributes:
        label: Column of the label.
        curve: 1 for the rank itself. Above 1 good faces are closer together and bad ones further apart.
        weight: Of the output in the score; 0 for one that only teaches the backbone.
    """

    label: str = "centre"
    curve: float = 1.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.label or "," in self.label:
            raise InputError(f"an output of blend has the label {self.label!r}, wanted the name of one column")
        if not (self.curve > 0 and self.weight >= 0):
            raise InputError(
                f"an output of blend has curve={self.curve}, weight={self.weight}; wanted a curve above 0, and a "
                "weight of 0 or more"
            )


@dataclass(frozen=True, slots=True)
class Blend(Regressor):
    """See `Regressor`. A face that lacks a label is left out.

    Attributes:
        label: The columns of all outputs, by commas, each once. It is made of `outputs`.
        outputs: See `Output`.
        cuts: Share of the faces that are cut, so that the score does not follow a picture's edge; see
            `train.degradations.framing.cut`.
        moves: How far faces are moved, so that the score does not follow the detector; see
            `train.degradations.framing.move`.
    """

    label: str = ""
    outputs: tuple[Output, ...] = (Output("centre"), Output("lightqnet"))
    cuts: float = 0.3
    moves: float = 1.0

    def __post_init__(self) -> None:
        if not sum(output.weight for output in self.outputs) > 0:
            raise InputError("blend has no output with a weight above 0, wanted one: it is the score")
        if not 0 <= self.cuts <= 1:
            raise InputError(f"blend.cuts is {self.cuts}, wanted a share from 0 to 1")
        if not self.moves >= 0:
            raise InputError(f"blend.moves is {self.moves}, wanted 0 or more")
        columns = ",".join(dict.fromkeys(output.label for output in self.outputs))
        if self.label not in ("", columns):
            raise InputError(
                f"blend has the label {self.label}, and its outputs have {columns}; name labels there alone"
            )
        object.__setattr__(self, "label", columns)

    @property
    def weights_of_outputs(self) -> tuple[float, ...]:
        """The weights, of sum 1."""
        total = sum(output.weight for output in self.outputs)
        return tuple(output.weight / total for output in self.outputs)

    def targets(self, data: LabelledFaces, settings: TargetSettings) -> NDArray[np.float32]:
        """Return what the outputs learn, (M, outputs); the section `targets` is not used.

        Raises:
            InputError: The section is there, or a label is all one value.
        """
        if settings != TargetSettings():
            raise InputError("a recipe with blend has no targets: it learns the ranks of its labels; leave them out")
        columns = self.label.split(",")
        rank = {name: ranks(label_column(data.manifest, name)[data.rows], data.clean) for name in columns}
        return np.stack([1 - (1 - rank[output.label]) ** output.curve for output in self.outputs], axis=1)

    def objective(self, data: LabelledFaces) -> Objective:
        """Take all faces."""
        names = [output.label if output.curve == 1 else f"{output.label}^{output.curve:g}" for output in self.outputs]
        return Objective(data, partial(_loss, names))

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
