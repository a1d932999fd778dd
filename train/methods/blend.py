"""Blend: one network that learns several measures of quality, each by an output of its own.

This project's own method. Each output learns the rank of a label with the L1 loss. The score is their weighted mean,
and in the network that is kept one output gives it. So labels of several origins teach the same backbone; see
docs/methods/blend.md.
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
        within_person: Take each person's mean off the label first, see `within_person`.
        weight: Of the output in the score; 0 for one that only teaches the backbone.
    """

    label: str = "centre"
    curve: float = 1.0
    within_person: bool = False
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.label or "," in self.label:
            raise InputError(f"an output of blend has the label {self.label!r}, wanted the name of one column")
        if not (self.curve > 0 and self.weight >= 0):
            raise InputError(
                f"an output of blend has curve={self.curve}, weight={self.weight}; wanted a curve above 0, and a "
                "weight of 0 or more"
            )

    @property
    def name(self) -> str:
        """Of the output in logs."""
        curve = "" if self.curve == 1 else f"^{self.curve:g}"
        return f"{self.label}{' within person' if self.within_person else ''}{curve}"


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
        targets = []
        for output in self.outputs:
            values = label_column(data.manifest, output.label)[data.rows]
            if output.within_person:
                values = within_person(values, data.identities, data.clean)
            targets.append(1 - (1 - ranks(values, data.clean)) ** output.curve)
        return np.stack(targets, axis=1)

    def objective(self, data: LabelledFaces) -> Objective:
        """Take all faces."""
        return Objective(data, partial(_loss, [output.name for output in self.outputs]))

    def data_sets(self, split: Split, recipe: RegressorRecipe, files: FitFiles) -> tuple[FaceDataset, FaceDataset]:
        """Return the faces to train on, some of them cut, moved and flipped; and those to validate on, as they are."""
        how, manifest, targets = recipe.training, split.manifest, split.targets
        return (
            CutFaces(manifest, split.train, targets, self.cuts, self.moves, how.flip, how.seed, how.cache),
            FaceDataset(manifest, split.validation, targets, cache=how.cache),
        )


def within_person(
    values: NDArray[np.float64], identities: NDArray[np.str_], clean: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Take off each label what sets its person apart from others, so that only differences between images are left.

    For a person with n clean images this is n / (n + 1) of how far their mean is from that of all clean images: few
    images tell little about a person.

    Args:
        values: (N,) labels.
        identities: (N,) persons.
        clean: (N,) images that are not damaged copies.

    Returns:
        (N,); a damaged copy loses as much as its person's clean images.
    """
    names, codes = np.unique(identities, return_inverse=True)
    counts = np.bincount(codes[clean], minlength=len(names))
    apart = values - values[clean].mean()
    return values - (np.bincount(codes[clean], apart[clean], len(names)) / (counts + 1))[codes]


def _loss(names: Sequence[str], features: Tensor, prediction: Tensor, batch: Batch, training: bool) -> Terms:
    errors = (prediction - batch["label"]).abs().mean(dim=0)
    return {"total": errors.mean(), **dict(zip(names, errors, strict=True))}
