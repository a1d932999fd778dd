"""The task that the trainer is given: what is trained, and how the weights are changed."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

Batch = dict[str, Tensor]

Terms = dict[str, Tensor]
"""Terms of a loss by name: scalars, means over a batch. `total` is minimised."""


def _same_rate(base: float, step: int) -> float:
    return base


def _always(step: int) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Optimisation:
    """How the weights are changed.

    Attributes:
        optimiser: Of all parameters that are trained.
        steps: Steps of the optimiser in the whole training.
        passes: Passes forward and back a step (gradient accumulation).
        rate: (rate of a parameter group as given, steps done) -> its rate in the next step.
        clip: Largest gradient norm.
        averages: Number of a step, from 1 -> whether the averaged weights are updated after it.
    """

    optimiser: Optimizer
    steps: int
    passes: int = 1
    rate: Callable[[float, int], float] = _same_rate
    clip: float = math.inf
    averages: Callable[[int], bool] = _always


def fused(network: nn.Module) -> bool:
    """Tell whether an optimiser of the network runs as few large kernels: on a GPU."""
    return next(network.parameters()).is_cuda


class Task(Protocol):
    """What is trained, on what, with which loss."""

    @property
    def network(self) -> nn.Module:
        """The network; it is trained in place."""

    @property
    def train_set(self) -> Dataset[dict[str, Any]]:
        """Items to train on, by (epoch, index)."""

    @property
    def loss_scale(self) -> float:
        """The first loss scale of fp16."""

    @property
    def body(self) -> nn.Module:
        """The part of the network that takes nearly all of the time: `compile` compiles it."""

    def module_of(self, network: nn.Module) -> nn.Module:
        """Return a module whose `forward` gives what the loss takes: wrappers for several devices call only that."""

    def optimisation(self, passes: int) -> Optimisation:
        """Return how to train, for so many passes an epoch and process."""

    def terms(self, module: Callable[..., Any], batch: Batch, training: bool) -> Terms:
        """Return the terms of the loss of a batch.

        Args:
            module: `module_of` the network, perhaps wrapped; it gives float32.
            batch: Items, stacked, on the device.
            training: False in validation.
        """
