"""AI-KD: alignment-invariant knowledge distillation.

Babnik, Boutros, Damer, Peer and Štruc, "AI-KD: Towards Alignment Invariant Face Image Quality Assessment Using
Knowledge Distillation", IWBF 2024. The teacher sees a face aligned on its landmarks; the student, aligned on perturbed
ones, learns to give the same embedding and the face's quality.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

BETA = 0.5
"""Error of the quality up to which the loss is quadratic."""


class Losses(NamedTuple):
    """Terms of the loss, scalars."""

    total: Tensor
    quality: Tensor
    consistency: Tensor


def losses(features: Tensor, prediction: Tensor, label: Tensor, teacher: Tensor) -> Losses:
    """Loss of a batch: the mean of 1 - cosine, plus the smooth L1 of the quality.

    Args:
        features: (N, D) of the student.
        prediction: (N, 1) or (N,) predicted quality.
        label: (N,) in [0, 1].
        teacher: (N, D) embeddings of the same faces, aligned on their true landmarks.
    """
    quality = F.smooth_l1_loss(prediction.reshape(len(label)), label, beta=BETA)
    consistency = (1 - F.cosine_similarity(features, teacher)).mean()
    return Losses(consistency + quality, quality, consistency)
