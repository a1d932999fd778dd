"""The training loop that all regressors share.

Methods differ in data, loss, head and recipe; the loop has mixed precision and many devices (accelerate), parameter
groups, gradient clipping, averaged weights, TensorBoard, the best checkpoint, and exact resume.
"""

import json
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import GradScalerKwargs, gather_object
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from sdk.commands.console import progress_bar
from sdk.errors import InputError
from sdk.files import make_folder, open_file, write_file
from sdk.text import shortened
from train.data.dataset import EpochBatches, FaceDataset, normalised
from train.detector.dataset import SceneDataset
from train.fitting.settings import FitSettings, Group, learning_rate, validations_until
from train.lock import exclusive
from train.networks import QualityNetwork, Variant, save_network
from train.networks.checkpoints import replace_checkpoint
from train.networks.depthwise import speed_up_depthwise
from train.run_state import check_kept

logger = logging.getLogger(__name__)

Batch = dict[str, Tensor]
LossFunction = Callable[..., dict[str, Tensor]]
"""(what the network gives, batch, training) -> scalars, means over the batch, of which `total` is minimised.

A regressor gives features and prediction."""

_OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


class _FeaturesAndQuality(nn.Module):
    """The network with both outputs from `forward`, which is what wrappers for several devices call."""

    def __init__(self, network: QualityNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.features_and_quality(images)


class Fit:
    """A training run that keeps its best weights; one that was interrupted goes on where it stopped.

    Args:
        network: Trained in place.
        variant: Its normalisation.
        train_set: Items to train on.
        validation_set: Items to validate on.
        loss: See `LossFunction`.
        settings: See `FitSettings`.
        out: Folder for `best.safetensors`, `last.safetensors`, `history.json`, `state.pt` and TensorBoard's logs.
        task: What is learned from what, as a digest: a run is only continued with the same.

    Raises:
        InputError: The precision needs another device.
    """

    def __init__(
        self,
        network: nn.Module,
        variant: Variant,
        train_set: FaceDataset | SceneDataset,
        validation_set: FaceDataset | SceneDataset,
        loss: LossFunction,
        settings: FitSettings,
        out: Path,
        task: str = "",
    ) -> None:
        make_folder(out)
        self.variant, self.loss, self.settings, self.out, self.task = variant, loss, settings, out, task
        self.accelerator = make_accelerator(settings.precision, out, settings.loss_scale)
        processes = self.accelerator.num_processes
        self.batches = EpochBatches(len(train_set), settings.batch_size, True, settings.seed, processes)
        self.steps_per_epoch = math.ceil(len(self.batches) / processes)
        self.total_steps = settings.epochs * self.steps_per_epoch
        if self.accelerator.device.type == "cpu":
            speed_up_depthwise(network)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model, self.optimiser, self.train_loader = self.accelerator.prepare(
            self._trained(self.network),
            _OPTIMISERS[settings.optimiser](self._parameter_groups()),
            DataLoader(train_set, batch_sampler=self.batches, num_workers=settings.workers),
        )
        # Every process validates its own share: filled up to equal shares, some images would count twice.
        check = list(EpochBatches(len(validation_set), settings.batch_size, False))
        share = check[self.accelerator.process_index :: processes]
        self.validation_loader = DataLoader(validation_set, batch_sampler=share, num_workers=settings.workers)
        self.average: AveragedModel | None = None
        if settings.ema:
            average = get_ema_multi_avg_fn(settings.ema)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        self.epoch, self.step_in_epoch, self.step = 0, 0, 0
        self.history: list[dict[str, float]] = []

    def _trained(self, network: nn.Module) -> nn.Module:
        """What is called in training: it gives a tuple of all that the loss takes."""
        return _FeaturesAndQuality(cast(QualityNetwork, network))

    def _parameter_groups(self) -> list[dict[str, Any]]:
        return parameter_groups(cast(QualityNetwork, self.network), self.settings)

    def run(self) -> Path:
        """Train.

        Returns:
            Path of `best.safetensors`.

        Raises:
            InputError: `state.pt` in the folder is of a run with another task or other settings, or another run is
                writing there.
        """
        with exclusive(self.out if self.accelerator.is_main_process else None):
            return self._run()

    def _run(self) -> Path:
        self._resume()
        self.accelerator.init_trackers("tensorboard")
        while self.epoch < self.settings.epochs:
            self._train_epoch()
            self.epoch, self.step_in_epoch = self.epoch + 1, 0
        self.accelerator.end_training()
        return self.out / "best.safetensors"

    def _train_epoch(self) -> None:
        self.batches.epoch, self.batches.start = self.epoch, self.step_in_epoch * self.accelerator.num_processes
        left = self.steps_per_epoch - self.step_in_epoch
        if not left:
            return
        self._train_mode()
        with progress_bar(f"epoch {self.epoch + 1}", left) as advance:
            for batch in self.train_loader:
                self._train_step(batch)
                self._after_step()
                advance(1)

    def _train_mode(self) -> None:
        self.model.train()
        if self.settings.frozen_norm:
            for norm in _batch_norms(cast(QualityNetwork, self.network).base_model):
                norm.eval()

    def _train_step(self, batch: Batch) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.settings, group["base_lr"], self.step, self.total_steps)
        terms = self._terms(self.model, batch, training=True)
        self.optimiser.zero_grad()
        self.accelerator.backward(terms["total"])
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimiser.step()
        self.step += 1
        self.step_in_epoch += 1
        if self.step % 20 == 0:
            means = {name: self.accelerator.reduce(value.detach(), "mean") for name, value in terms.items()}
            self.accelerator.log({f"train/{name}": value.item() for name, value in means.items()}, self.step)

    def _after_step(self) -> None:
        before, now = (validations_until(self.settings, step, self.total_steps) for step in (self.step - 1, self.step))
        if self.average is not None and (now > before or self.settings.schedule != "swa"):
            self.average.update_parameters(self.network)
        if now > before:
            self._validate()
            self._train_mode()
        if now > before or self.step % self.settings.save_every == 0:
            self._save()

    def _terms(self, model: nn.Module, batch: Batch, training: bool) -> dict[str, Tensor]:
        images = normalised(batch["image"].to(self.accelerator.device), self.variant.mean, self.variant.std)
        with self.accelerator.autocast():
            outputs = model(images.contiguous(memory_format=torch.channels_last))
        return self.loss(*(output.float() for output in outputs), batch, training)

    @torch.no_grad()
    def _validate(self) -> None:
        kept = self.network if self.average is None else self.average.module
        judged = self.network if self.settings.schedule == "swa" else kept
        judged.eval()
        model, parts = self._trained(judged), []
        for batch in self.validation_loader:
            size = len(batch["image"])
            terms = self._terms(model, batch, training=False)
            parts.append(({name: value.item() * size for name, value in terms.items()}, size))
        parts = gather_object(parts)
        count = sum(size for _, size in parts)
        means = {name: sum(terms[name] for terms, _ in parts) / count for name in parts[0][0]}
        self.history.append({"epoch": self.step / self.steps_per_epoch, "step": float(self.step), **means})
        if not math.isfinite(means["total"]):
            raise InputError(f"the validation loss is {means['total']} at step {self.step}; lower the learning rates")
        described = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        logger.info("epoch %.4g: %s", self.history[-1]["epoch"], described)
        self.accelerator.log({f"validation/{name}": value for name, value in means.items()}, self.step)
        if self.accelerator.is_main_process:
            save_network(kept, self.out / "last.safetensors")
            if means["total"] <= min(past["total"] for past in self.history):
                save_network(kept, self.out / "best.safetensors")
            text = json.dumps(self.history, indent=1, allow_nan=False)
            write_file(self.out / "history.json", text)

    def _save(self) -> None:
        if not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        state = {
            "settings": asdict(self.settings),
            "task": self.task,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "progress": {"epoch": self.epoch, "step_in_epoch": self.step_in_epoch, "step": self.step},
            "history": self.history,
        }
        replace_checkpoint(self.out / "state.pt", lambda temporary: torch.save(state, temporary))

    def _resume(self) -> None:
        path = self.out / "state.pt"
        if not path.exists():
            return
        with reading_state(path) as state:
            anew = "give another --out to train anew"
            check_kept(state["settings"], asdict(self.settings), f"{path} is of a run", anew)
            if state.get("task") != self.task:
                raise InputError(
                    f"{path} is of a run with other images, labels, embeddings, or settings of method, targets or "
                    f"warm-up; {anew}"
                )
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            progress = (int(state["progress"][name]) for name in ("epoch", "step_in_epoch", "step"))
            self.epoch, self.step_in_epoch, self.step = progress
            self.history = [{name: float(value) for name, value in past.items()} for past in state["history"]]
        logger.info("resumed at epoch %d, step %d", self.epoch, self.step)


@contextmanager
def reading_state(path: Path) -> Iterator[dict[str, Any]]:
    """Read what a run saved to go on from, and have it taken over in the block.

    Raises:
        InputError: The file is damaged, or what is in it does not fit.
    """
    anew = "delete it to start anew"
    with open_file(path, InputError, anew):
        pass
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        raise InputError(f"{path} is damaged ({shortened(error) or type(error).__name__}); {anew}") from error
    try:
        yield state
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged ({type(error).__name__}: {shortened(error)}); {anew}") from error


def make_accelerator(precision: str, out: Path, loss_scale: float = 2.0**16) -> Accelerator:
    """Devices, precision (`no`, `bf16`, `fp16` with the loss scale to begin with), and TensorBoard's logs in `out`.

    Raises:
        InputError: The precision needs another device.
    """
    scaler = GradScalerKwargs(init_scale=loss_scale)
    try:
        made = Accelerator(mixed_precision=precision, log_with="tensorboard", project_dir=out, kwargs_handlers=[scaler])
    except ValueError as error:
        raise InputError(f"precision is {precision}: {error}; write bf16 or no in the recipe") from error
    if precision == "fp16" and made.device.type == "cpu":  # accelerate trains in fp32 then, and says nothing
        raise InputError("precision is fp16 and the device cpu: fp16 needs a GPU; write bf16 or no in the recipe")
    return made


def parameter_groups(network: QualityNetwork, settings: FitSettings) -> list[dict[str, Any]]:
    """The groups of `FitSettings` for an optimiser; the other parameters are frozen in place."""
    left = list(network.base_model.parameters())
    if settings.frozen_norm:
        norms = {id(parameter) for norm in _batch_norms(network.base_model) for parameter in norm.parameters()}
        for parameter in left:
            parameter.requires_grad_(id(parameter) not in norms)
        left = [parameter for parameter in left if id(parameter) not in norms]
    groups = [_group(list(network.mlp.parameters()), settings, settings.groups[0])]
    for group in settings.groups[1:]:
        start = 0 if group.tensors < 0 else max(0, len(left) - group.tensors)
        taken, left = left[start:], left[:start]
        if taken:
            groups.append(_group(taken, settings, group))
    for parameter in left:
        parameter.requires_grad_(False)
    return groups


def _group(parameters: list[nn.Parameter], settings: FitSettings, group: Group) -> dict[str, Any]:
    momentum = {"momentum": group.momentum} if settings.optimiser == "sgd" else {}
    decay = {"weight_decay": group.weight_decay}
    return {"params": parameters, "lr": group.lr, "base_lr": group.lr, **decay, **momentum}


def _batch_norms(backbone: nn.Module) -> list[nn.Module]:
    return [module for module in backbone.modules() if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]
