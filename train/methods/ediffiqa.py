"""eDifFIQA: label-optimised distillation.

Babnik, Peer and Štruc, "eDifFIQA: Towards Efficient Face Image Quality Assessment Based on Denoising Diffusion
Probabilistic Models", IEEE TBIOM 2024. A face-recognition backbone with an MLP head learns quality labels, which are
lowered by the distance of each sample from the centre of its class, and keeps its embeddings close to its teacher's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sdk.errors import InputError
from train.data.embeddings import class_sums
from train.data.labelled import LabelledFaces
from train.fitting.regressor import Objective, Regressor
from train.fitting.task import Batch, Terms

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class EDifFIQA(Regressor):
    """The published values of `prepare` and `losses`, see `Regressor`; validation as published, too.

    Attributes:
        beta: See `prepare`.
        min_images: See `prepare`.
        epsilon: See `losses`; in validation the distance from the centre is not applied.
        theta: See `losses`.
    """

    beta: float = 0.2
    min_images: int = 10
    epsilon: float = 0.5
    theta: float = 0.5

    def objective(self, data: LabelledFaces) -> Objective:
        """Take the faces of people with a class centre."""
        prepared = prepare(data.labels, data.embeddings, data.identities, self.beta, self.min_images, data.clean)
        kept = data.keep(prepared.rows)
        loss = _Loss(torch.from_numpy(prepared.centres), self.epsilon, self.theta)
        return Objective(kept, loss, {"teacher": kept.teacher, "class": kept.spread(prepared.classes)})


class _Loss:
    """The loss of batches, with the class centres on the device: a copy a batch would make a GPU wait."""

    def __init__(self, centres: Tensor, epsilon: float, theta: float) -> None:
        self._centres, self._epsilon, self._theta = centres, epsilon, theta

    def __call__(self, features: Tensor, prediction: Tensor, batch: Batch, training: bool) -> Terms:
        self._centres = self._centres.to(features.device)
        centre = self._centres[batch["class"]]
        epsilon = self._epsilon if training else 0.0
        terms = losses(features, prediction, batch["label"], batch["teacher"], centre, epsilon, self._theta)
        return {"total": terms.total, "quality": terms.quality, "consistency": terms.consistency}


@dataclass(frozen=True, slots=True)
class Preparation:
    """Faces to train on, and the centres of their classes.

    Attributes:
        centres: float32 (C, D), mean raw embedding of the good images of each identity that is kept.
        rows: int64 (M,) rows of the data set that are kept, in their order.
        classes: int64 (M,) index into `centres` of each of them.
    """

    centres: NDArray[np.float32]
    rows: NDArray[np.int64]
    classes: NDArray[np.int64]


def prepare(
    quality: Floats,
    embeddings: Floats,
    identities: Sequence[str] | NDArray[np.str_],
    beta: float = 0.2,
    min_images: int = 10,
    eligible: NDArray[np.bool_] | None = None,
) -> Preparation:
    """Make the class centres and choose the faces to train on (section III-B).

    Args:
        quality: (N,) labels.
        embeddings: (N, D) of the teacher, not normalised.
        identities: Person of each image.
        beta: The centre is made of images whose label is at least the one at index `int(beta * N)` from the top.
        min_images: Identities with fewer such images are dropped whole.
        eligible: (N,) images that may make a centre; all of them by default. With damaged copies in the set: the
            clean ones.

    Raises:
        InputError: Labels or embeddings are NaN, or no identity is left.
    """
    quality = np.asarray(quality, np.float64)
    bad = int(np.isnan(quality).sum()), int(np.isnan(embeddings).any(axis=1).sum())
    if any(bad):
        raise InputError(f"{bad[0]} labels and {bad[1]} embeddings are NaN, wanted none; drop the rows with errors")
    eligible = np.ones(len(quality), bool) if eligible is None else eligible
    ranked = np.sort(quality[eligible])[::-1]
    good = eligible & (quality >= ranked[min(int(beta * len(ranked)), len(ranked) - 1)])
    names, codes = np.unique(np.asarray(identities), return_inverse=True)
    counts = np.bincount(codes[good], minlength=len(names))
    kept = counts >= min_images
    if not kept.any():
        raise InputError(
            f"no identity has {min_images} images at or above the quality threshold (the most is {counts.max()}); "
            "lower min_images or raise beta"
        )
    sums = class_sums(embeddings[good], codes[good], len(names))
    new_class = np.cumsum(kept) - 1
    rows = np.flatnonzero(kept[codes])
    centres = (sums[kept] / counts[kept, None]).astype(np.float32)
    return Preparation(centres, rows, new_class[codes[rows]])


class Losses(NamedTuple):
    """Terms of the loss: scalars, but `distance` (N,)."""

    total: Tensor
    quality: Tensor
    consistency: Tensor
    distance: Tensor


def losses(
    features: Tensor,
    prediction: Tensor,
    label: Tensor,
    teacher: Tensor,
    centre: Tensor,
    epsilon: float = 0.5,
    theta: float = 0.5,
) -> Losses:
    """Return the loss of a batch (section III-C).

    Args:
        features: (N, D) of the student.
        prediction: (N, 1) or (N,) predicted quality.
        label: (N,) in [0, 1].
        teacher: (N, D) embeddings of the same images.
        centre: (N, D) centres of their classes.
        epsilon: Weight of the distance from the centre; 0 in validation.
        theta: Weight of the representation consistency against the quality.
    """
    if prediction.ndim == 2:
        prediction = prediction.squeeze(-1)  # only this axis: a last batch of one image must stay a batch
    distance = (1 - F.cosine_similarity(features, centre)).detach()
    target = (label - epsilon * distance).clamp(0, 1)
    quality = (prediction - target).abs().mean()
    consistency = (1 - F.cosine_similarity(features, teacher)).mean()
    return Losses(theta * consistency + (1 - theta) * quality, quality, consistency, distance)
