"""How a network is trained: settings, and learning rates and validations as functions of the step alone.

What depends on nothing but the step is the same in a run that was interrupted.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from sdk.errors import InputError
from train.recipes import check_least

OPTIMISERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "one-cycle", "swa")
PRECISIONS = ("no", "bf16", "fp16")

SWA_EVENTS = 10
"""Averagings over which the schedule `swa` moves the rates to `swa_lr`."""

TRACKERS = ("tensorboard", "wandb", "mlflow")

FREE = frozenset({"workers", "cache", "save_every", "trackers"})
"""Settings that decide no weight: a run that goes on may have other values of them."""


WORKERS = 8
"""Most processes that load images for a GPU, by default."""


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """Settings that the trainer needs, whatever is trained.

    Attributes:
        batch_size: Images a pass forward and back, and process.
        precision: `no`, `bf16` or `fp16` (autocast).
        ema: Decay of the averaged weights, which are kept; 0 for none.
        flip: Probability of a left-right flip.
        seed: Decides all that is random.
        workers: Processes that load images. None takes up to `WORKERS` where the network is on a GPU, which would wait
            for them, and none on a CPU.
        cache: Keep decoded crops in memory.
        compile: Compile the network with torch.compile. It takes a minute or more, and steps on a GPU are faster from
            then on. Results differ by rounding. None is false, but for `DiffusionSettings`.
        save_every: Steps between checkpoints to resume from.
        trackers: What gets the curves of the losses: `tensorboard`, `wandb`, `mlflow`; none where it is empty.
    """

    batch_size: int = 128
    precision: str = "no"
    ema: float = 0.0
    flip: float = 0.0
    seed: int = 0
    workers: int | None = None
    cache: bool = False
    compile: bool | None = False
    save_every: int = 500
    trackers: tuple[str, ...] = ("tensorboard",)

    def __post_init__(self) -> None:
        check_one_of(self, "precision", PRECISIONS)
        if unknown := [name for name in self.trackers if name not in TRACKERS]:
            raise InputError(f"trackers has {unknown[0]!r}, wanted some of {', '.join(TRACKERS)}")
        if not 0 <= self.ema < 1:
            raise InputError(f"ema is {self.ema}, wanted 0 or more, below 1")
        check_least(self, 1, "batch_size", "save_every")
        check_least(self, 0, "seed", *(["workers"] if self.workers is not None else []))


def recorded(settings: TrainerSettings) -> dict[str, Any]:
    """Return the settings for the record of a run. Runs that do not compile go on from those of earlier versions."""
    values = asdict(settings)
    if not settings.compile:
        del values["compile"]
    return values


@dataclass(frozen=True, slots=True)
class Group:
    """Parameter tensors that are trained alike.

    Attributes:
        lr: Learning rate.
        tensors: How many; -1 for all that are left.
        weight_decay: Of the optimiser.
        momentum: Of SGD.
    """

    lr: float = 1e-3
    tensors: int = -1
    weight_decay: float = 0.0
    momentum: float = 0.0


@dataclass(frozen=True, slots=True)
class FitSettings(TrainerSettings):
    """How to train a network that is validated; the defaults are eDifFIQA's.

    A checkpoint is also written after each validation. The averaged weights (`ema`) are updated at every step, and
    validated; with the schedule `swa` they are updated at every validation, which takes the network of that moment.

    Attributes:
        epochs: Passes over the data.
        groups: The head, then the backbone from its end: each group takes the `tensors` parameter tensors before those
            of the group above it. What is left is frozen.
        frozen_norm: Keep the batch norms of the backbone as they are, statistics included.
        optimiser: `adam`, `adamw` or `sgd`.
        schedule: `constant`; `one-cycle`: linear rise over the first tenth of the steps, cosine fall to 0; or `swa`
            (AI-KD): a sine's rise over the first 15 % of the steps, then constant until 30 %, then with each
            validation a tenth of the way to `swa_lr`.
        swa_lr: See `schedule`.
        validations: Validations an epoch, the last at its end; with `swa` not in the first 30 % of the steps.
        clip: Largest gradient norm.
        loss_scale: First loss scale of fp16.
    """

    epochs: int = 3
    groups: tuple[Group, ...] = (Group(1e-3), Group(1e-4, 100))
    frozen_norm: bool = False
    optimiser: str = "adam"
    schedule: str = "constant"
    swa_lr: float = 0.05
    validations: int = 1
    clip: float = 5.0
    loss_scale: float = 65536.0

    def __post_init__(self) -> None:
        TrainerSettings.__post_init__(self)
        check_one_of(self, "optimiser", OPTIMISERS)
        check_one_of(self, "schedule", SCHEDULES)
        if not self.groups or self.groups[0].tensors != -1:
            raise InputError("the first of groups is the head, which is trained whole: wanted one without 'tensors'")
        if self.optimiser != "sgd" and any(group.momentum for group in self.groups):
            raise InputError(f"a group has momentum and the optimiser is {self.optimiser}, wanted sgd or no momentum")
        if self.schedule == "swa" and not self.ema:
            raise InputError("schedule is swa and ema is 0, wanted the decay of the averaged weights, such as 0.1")
        if not self.clip > 0:
            raise InputError(f"clip is {self.clip}, wanted a number above 0")
        check_least(self, 1, "epochs", "validations")


def check_one_of(settings: object, name: str, wanted: tuple[str, ...]) -> None:
    """Refuse a setting that is not one of some words.

    Raises:
        InputError: It is none of them.
    """
    value = getattr(settings, name)
    if value not in wanted:
        raise InputError(f"{name} is {value!r}, wanted {', '.join(wanted[:-1])} or {wanted[-1]}")


def learning_rate(settings: FitSettings, base: float, step: int, total: int) -> float:
    """Return the learning rate of a group at a step.

    Args:
        settings: Its schedule.
        base: Rate of the group.
        step: Steps that were done before.
        total: Steps of the whole training.
    """
    if settings.schedule == "constant":
        return base
    if settings.schedule == "one-cycle":
        warm = max(1, total // 10)
        if step < warm:
            return base * (step + 1) / warm
        return base * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
    rise = 0.15 * total
    if step < rise:
        return base * math.sin(step / rise * math.pi / 2)
    share = min(1.0, validations_until(settings, step, total) / SWA_EVENTS)
    return base * (1 - share) + settings.swa_lr * share


def validations_until(settings: FitSettings, step: int, total: int) -> int:
    """Count the validations of the first `step` of `total` steps; they are evenly spread over each epoch."""
    whole = settings.validations * settings.epochs
    before = 3 * total // 10 * whole // total if settings.schedule == "swa" else 0
    return max(0, step * whole // total - before)


def validation_due(settings: FitSettings, step: int, total: int) -> bool:
    """Tell whether a validation follows the `step`-th of `total` steps."""
    return validations_until(settings, step, total) > validations_until(settings, step - 1, total)
