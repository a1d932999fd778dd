"""Regression on labels: the L1 loss.

DifFIQA(R), in Babnik, Peer and Štruc, "DifFIQA: Face Image Quality Assessment Using Denoising Diffusion Probabilistic
Models", IJCB 2023; and the transfer learning in Babnik, Damer and Štruc, "Optimization-Based Improvement of Face Image
Quality Assessment Techniques", IWBF 2023.
"""

from dataclasses import dataclass

from torch import Tensor

from train.data.labelled import LabelledFaces
from train.fitting.regressor import Objective, Regressor
from train.fitting.task import Batch, Terms


@dataclass(frozen=True, slots=True)
class Regression(Regressor):
    """L1 on the label, see `Regressor`."""

    label: str = "diffiqa"

    def objective(self, data: LabelledFaces) -> Objective:
        """Take all faces."""
        return Objective(data, _loss)


def _loss(features: Tensor, prediction: Tensor, batch: Batch, training: bool) -> Terms:
    label = batch["label"]
    return {"total": (prediction.reshape(len(label)) - label).abs().mean()}
