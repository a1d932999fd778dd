"""Methods that train a regressor on labels: what each takes of the data, and its loss.

They share the loop (`train.fitting.trainer`) and the road to it (`train.methods.fit_regressor`); heads, parameter
groups and schedules are the recipe's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from train.data.labelled import LabelledFaces
from train.fitting.trainer import Batch, LossFunction
from train.methods import aikd
from train.methods.ediffiqa import losses, prepare


@dataclass(frozen=True, slots=True)
class Plan:
    """What a method makes of a data set.

    Attributes:
        data: Rows to train and validate on.
        loss: See `LossFunction`; it is given `label`, and `targets` by name.
        targets: Further arrays over the manifest's rows.
    """

    data: LabelledFaces
    loss: LossFunction
    targets: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Regression:
    """L1 on the label: DifFIQA(R) (IJCB 2023) and the transfer learning of label optimisation (IWBF 2023).

    Attributes:
        label: Column of the labels.
        validation: Fraction taken evenly along the sorted labels, unless the manifest has a column `split`.
    """

    name: ClassVar[str] = "regression"
    label: str = "diffiqa"
    validation: float = 0.1

    def plan(self, data: LabelledFaces) -> Plan:
        """All rows."""

        def loss(features: Tensor, prediction: Tensor, batch: Batch, training: bool) -> dict[str, Tensor]:
            label = batch["label"].to(prediction.device)
            return {"total": (prediction.reshape(len(label)) - label).abs().mean()}

        return Plan(data, loss)


@dataclass(frozen=True, slots=True)
class EDifFIQA:
    """The published values of preparation and loss, see `train.methods.ediffiqa`; validation as published too.

    Attributes:
        label: Column of the labels.
        beta: See `prepare`.
        min_images: See `prepare`.
        epsilon: See `losses`; in validation the distance from the centre is not applied.
        theta: See `losses`.
        validation: Fraction taken evenly along the sorted labels, unless the manifest has a column `split`.
    """

    name: ClassVar[str] = "ediffiqa"
    label: str = "faceqan"
    beta: float = 0.2
    min_images: int = 10
    epsilon: float = 0.5
    theta: float = 0.5
    validation: float = 0.1

    def plan(self, data: LabelledFaces) -> Plan:
        """Rows of people with a class centre."""
        prepared = prepare(data.labels, data.embeddings, data.identities, self.beta, self.min_images, data.clean)
        kept = data.keep(prepared.rows)
        centres = torch.from_numpy(prepared.centres)

        def loss(features: Tensor, prediction: Tensor, batch: Batch, training: bool) -> dict[str, Tensor]:
            label, teacher = (batch[name].to(features.device) for name in ("label", "teacher"))
            centre = centres[batch["class"].cpu()].to(features.device)
            epsilon = self.epsilon if training else 0.0
            terms = losses(features, prediction, label, teacher, centre, epsilon, self.theta)
            return {"total": terms.total, "quality": terms.quality, "consistency": terms.consistency}

        return Plan(kept, loss, {"teacher": kept.teacher, "class": kept.spread(prepared.classes)})


@dataclass(frozen=True, slots=True)
class AIKD:
    """See `train.methods.aikd`. The teacher is frozen, so its embeddings of the aligned faces are made once, before.

    Attributes:
        label: Column of the labels.
        perturbation: Largest shift of the student's landmarks, pixels of the source image.
        scaled: Take `perturbation` as pixels of the aligned crop.
        validation: Fraction taken evenly along the sorted labels, unless the manifest has a column `split`.
    """

    name: ClassVar[str] = "aikd"
    label: str = "diffiqa"
    perturbation: float = 3.0
    scaled: bool = False
    validation: float = 0.01

    def plan(self, data: LabelledFaces) -> Plan:
        """All rows."""

        def loss(features: Tensor, prediction: Tensor, batch: Batch, training: bool) -> dict[str, Tensor]:
            label, teacher = (batch[name].to(features.device) for name in ("label", "teacher"))
            return aikd.losses(features, prediction, label, teacher)._asdict()

        return Plan(data, loss, {"teacher": data.teacher})


Method = Regression | EDifFIQA | AIKD

METHODS: dict[str, type[Method]] = {method.name: method for method in (Regression, EDifFIQA, AIKD)}
"""Methods by the name of their section in a recipe."""
