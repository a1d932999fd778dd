"""What a GPU would have to wait for in a step of a training, found without one."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from train.fitting.learner import Learner

META = torch.device("meta")


class StepSeenError(Exception):
    """A step was looked at, and nothing else is wanted of the run."""


class Copies(TorchDispatchMode):
    """Counts tensors that an operator takes from main memory to the device. A number costs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        found = operator(*args, **(kwargs or {}))
        devices = {value.device.type for value in [*given, *tree_leaves(found)] if isinstance(value, Tensor)}
        self.count += "meta" in devices and any(value.device.type == "cpu" and value.ndim > 0 for value in given)
        return found


@contextmanager
def steps_without_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Assert that the first step of the training inside reads nothing from the device, and copies nothing to it.

    The step is done on torch's device `meta`, whose tensors have no values: reading one is an error. It is done twice,
    for what is copied there once may stay. Then the training is ended.
    """

    def step(learner: Learner, batches: Iterator[dict[str, Tensor]], done: int) -> NoReturn:
        task = learner._task
        module = task.module_of(deepcopy(learner.network).to(META)).train()
        batch = {name: value.to(META) for name, value in next(batches).items()}
        task.terms(module, batch, training=True)["total"].backward()
        with Copies() as copies:
            task.terms(module, batch, training=True)["total"].backward()
        assert copies.count == 0
        raise StepSeenError

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", step)
        patch.setattr(torch, "is_autocast_enabled", lambda device: False)  # it does not know this device
        with pytest.raises(StepSeenError):
            yield
