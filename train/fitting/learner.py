"""A network in training: devices, precision, one step of the optimiser, and the average of the weights."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DataLoaderConfiguration,
    DistributedType,
    GradScalerKwargs,
    ProjectConfiguration,
    send_to_device,
)
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sdk.errors import InputError
from sdk.text import shortened
from train.device.background import BackgroundWriter, snapshot
from train.device.compiling import compile_errors
from train.device.passes import GraphedPasses
from train.fitting.task import Batch, Task, Terms
from train.networks.checkpoints import save_state
from train.networks.cpu_layers import speed_up


class Learner:
    """A task's network with its optimiser, on the devices of this process.

    Args:
        task: See `Task`.
        ema: Decay of the averaged weights; 0 for none.
        passes: Passes an epoch and process.
        accelerator: See `make_accelerator`.
        compiled: Compile the network's body.

    Attributes:
        writer: Writes files beside the training.
    """

    def __init__(self, task: Task, ema: float, passes: int, accelerator: Accelerator, compiled: bool = False) -> None:
        self._task, self.accelerator = task, accelerator
        self.writer = BackgroundWriter()
        if accelerator.device.type == "cpu":
            speed_up(task.network)
        task.network.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if compiled:
            task.body.compile(dynamic=False)
        self.optimisation = task.optimisation(passes)
        self._module, self._optimiser = accelerator.prepare(task.module_of(task.network), self.optimisation.optimiser)
        self._rates = [group["lr"] for group in self._optimiser.param_groups]
        self._passes: Callable[[Sequence[Batch]], Terms] = self._pass_by_pass
        if accelerator.device.type == "cuda" and accelerator.distributed_type == DistributedType.NO:
            self._passes = GraphedPasses(self._pass_by_pass, task.network)
        self._average: AveragedModel | None = None
        if ema:
            average = get_ema_multi_avg_fn(ema)  # type: ignore[no-untyped-call]
            self._average = AveragedModel(task.network, multi_avg_fn=average, use_buffers=True)

    @property
    def network(self) -> nn.Module:
        """The network that is trained."""
        return self._task.network

    @property
    def kept(self) -> nn.Module:
        """The averaged weights, where there are any; else the network."""
        return self.network if self._average is None else self._average.module

    def step(self, batches: Iterator[Batch], done: int) -> Terms:
        """Do a step of the optimiser, and update the average where that is due.

        Args:
            batches: Gives one a pass.
            done: Steps that were done before.

        Returns:
            Terms of the loss, means over the step's batches of this process.
        """
        how = self.optimisation
        for group, base in zip(self._optimiser.param_groups, self._rates, strict=True):
            group["lr"] = how.rate(base, done)
        self._module.train()
        self._optimiser.zero_grad()  # before, for the warm-up of a head leaves gradients
        means = self._passes([next(batches) for _ in range(how.passes)])
        if how.clip < float("inf"):
            self.accelerator.clip_grad_norm_(self._module.parameters(), how.clip)
        self._optimiser.step()
        if self._average is not None and how.averages(done + 1):
            self._average.update_parameters(self.network)
        return means

    def _pass_by_pass(self, batches: Sequence[Batch]) -> Terms:
        """Add the gradients of a step's batches; return the means of the terms of the loss."""
        means: Terms = {}
        for left, batch in zip(reversed(range(len(batches))), batches, strict=True):
            with (
                self.accelerator.no_sync(self._module) if left else nullcontext(),
                compile_errors("write compile: false in the recipe"),
            ):
                terms = self._task.terms(self._module, batch, training=True)
                self.accelerator.backward(terms["total"] / len(batches))
            means = {name: means.get(name, 0) + value.detach() / len(batches) for name, value in terms.items()}
        return means

    def validate(self, network: nn.Module, batch: Batch) -> Terms:
        """Return the terms of the loss of a batch for a network, `network` or `kept`, as it is."""
        module = self._task.module_of(network)

        def forward(*inputs: Tensor) -> tuple[Tensor, ...]:
            # Compiled, validation would be compiled again for each of its shapes.
            with self.accelerator.autocast(), torch.compiler.set_stance("force_eager"):
                outputs = module(*inputs)
            return tuple(output.float() for output in outputs)

        return self._task.terms(forward, send_to_device(batch, self.accelerator.device), training=False)

    def mean(self, value: Tensor) -> float:
        """Return the mean of a scalar over all processes, each of which must call this."""
        return self.means(value.detach()[None])[0]

    def means(self, values: Tensor) -> list[float]:
        """Return the mean of each of (N,) values over all processes, each of which must call this."""
        return [float(value) for value in self.accelerator.reduce(values.detach(), "mean").tolist()]

    def write_kept(self, *paths: Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write `kept` as it is now to `.safetensors`, beside the training; all paths get the same."""
        state = snapshot(self.kept.state_dict())
        for path in paths:
            self.writer.write(partial(save_state, state, path, metadata))

    def state(self) -> dict[str, Any]:
        """Return all that a run needs to go on; the keys are those of DifFIQA's published checkpoint."""
        scaler = self.accelerator.scaler
        return {
            "model": self.network.state_dict(),
            "opt": self._optimiser.state_dict(),
            "ema": None if self._average is None else self._average.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.network.load_state_dict(state["model"])
        groups = zip(state["opt"]["param_groups"], self._optimiser.param_groups, strict=True)
        rates = [{**past, "fused": group.get("fused")} for past, group in groups]  # of this device, not of that one
        self._optimiser.load_state_dict({**state["opt"], "param_groups": rates})
        if self._average is not None:
            self._average.load_state_dict(state["ema"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])


PROJECT = "fiqa"
"""Name of the project in the trackers, and of the folder of TensorBoard's logs."""


def make_accelerator(precision: str, out: Path, loss_scale: float, trackers: Sequence[str]) -> Accelerator:
    """Find the devices, and the trackers of the losses.

    Args:
        precision: `no`, `bf16` or `fp16`.
        out: Folder.
        loss_scale: First loss scale of fp16.
        trackers: Names, see `TrainerSettings`.

    Raises:
        InputError: The precision needs another device, or the package of a tracker is not installed.
    """
    for name in trackers:
        if find_spec(name) is None:  # accelerate would leave it out without a word
            extra = "train" if name == "tensorboard" else name
            raise InputError(f"the tracker {name} is not installed; pip install 'fiqa[{extra}]', or leave it out")
    scaler = GradScalerKwargs(init_scale=loss_scale)
    try:
        made = Accelerator(
            mixed_precision=precision, log_with=list(trackers) or None, kwargs_handlers=[scaler],
            project_config=ProjectConfiguration(str(out), str(out / "tensorboard")),
            dataloader_config=DataLoaderConfiguration(non_blocking=True),
        )  # fmt: skip
    except ValueError as error:
        raise InputError(f"precision is {precision}: {error}; write bf16 or no in the recipe") from error
    if precision == "fp16" and made.device.type == "cpu":  # accelerate trains in fp32 then, and says nothing
        raise InputError("precision is fp16 and the device cpu: fp16 needs a GPU; write bf16 or no in the recipe")
    return made


def start_trackers(accelerator: Accelerator, out: Path) -> None:
    """Start the trackers of a run, which has the name of its folder there.

    Raises:
        InputError: A tracker cannot start: its server cannot be reached, or wants a login.
    """
    options = {"wandb": {"name": out.name, "dir": str(out)}, "mlflow": {"run_name": out.name}}
    try:
        accelerator.init_trackers(PROJECT, init_kwargs=options)
    except Exception as error:  # the trackers' errors share no class
        raise InputError(f"a tracker cannot start: {shortened(error) or type(error).__name__}; leave it out") from error
