"""AI-KD: alignment-invariant knowledge distillation.

Babnik, Boutros, Damer, Peer and Štruc, "AI-KD: Towards Alignment Invariant Face Image Quality Assessment Using
Knowledge Distillation", IWBF 2024. The teacher sees a face aligned on its landmarks; the student, aligned on perturbed
ones, learns to give the same embedding and the face's quality.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from train.data.dataset import FaceDataset
from train.data.labelled import LabelledFaces
from train.data.source_images import PerturbedDataset, source_faces
from train.fitting.regressor import FitFiles, Objective, Regressor, RegressorRecipe, Split
from train.fitting.task import Batch, Terms

BETA = 0.5
"""Error of the quality up to which the loss is quadratic."""


@dataclass(frozen=True, slots=True)
class AIKD(Regressor):
    """AI-KD's settings, see `Regressor`.

    The teacher is frozen. Its embeddings of the aligned faces are made before; where they are not given, it embeds them
    in training.

    Attributes:
        perturbation: Largest shift of the student's landmarks, pixels of the source image.
        scaled: Take `perturbation` as pixels of the aligned crop.
    """

    label: str = "diffiqa"
    validation: float = 0.01
    perturbation: float = 3.0
    scaled: bool = False

    def objective(self, data: LabelledFaces) -> Objective:
        """Take all faces."""
        if data.vectors is None:
            return Objective(data, _loss, teacher=True)
        return Objective(data, _loss, {"teacher": data.teacher})

    def data_sets(self, split: Split, recipe: RegressorRecipe, files: FitFiles) -> tuple[FaceDataset, FaceDataset]:
        """Cut the faces from their source images: to train on, on perturbed landmarks; to validate on, on true ones.

        Raises:
            InputError: An image has no landmarks.
        """
        manifest, targets, how, aligned = split.manifest, split.targets, recipe.training, files.embeddings is None
        rows = np.sort(np.concatenate([split.train, split.validation]))
        sources = source_faces(manifest, rows, files.sources, recipe.prepare)
        return (
            PerturbedDataset(
                manifest, sources, split.train, targets, self.perturbation, self.scaled, how.flip, how.seed, aligned
            ),
            PerturbedDataset(manifest, sources, split.validation, targets, pixels=0.0, aligned=aligned),
        )


class Losses(NamedTuple):
    """Terms of the loss, scalars."""

    total: Tensor
    quality: Tensor
    consistency: Tensor


def losses(features: Tensor, prediction: Tensor, label: Tensor, teacher: Tensor) -> Losses:
    """Return the loss of a batch: the mean of 1 - cosine, plus the smooth L1 of the quality.

    Args:
        features: (N, D) of the student.
        prediction: (N, 1) or (N,) predicted quality.
        label: (N,) in [0, 1].
        teacher: (N, D) embeddings of the same faces, aligned on their true landmarks.
    """
    quality = F.smooth_l1_loss(prediction.reshape(len(label)), label, beta=BETA)
    consistency = (1 - F.cosine_similarity(features, teacher)).mean()
    return Losses(consistency + quality, quality, consistency)


def _loss(features: Tensor, prediction: Tensor, batch: Batch, training: bool) -> Terms:
    return losses(features, prediction, batch["label"], batch["teacher"])._asdict()
