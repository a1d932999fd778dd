"""The training loop that all regressors share.

Methods differ in data, loss and recipe; the loop has mixed precision and many devices (accelerate), parameter groups,
gradient clipping, averaged weights, TensorBoard, the best checkpoint, and exact resume.
"""

import json
import logging
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from sdk.console import progress_bar
from sdk.errors import InputError
from train.data.dataset import EpochBatches, FaceDataset, normalised
from train.data.exclusive import exclusive
from train.networks import QualityNetwork, Variant, save_network
from train.networks.depthwise import speed_up_depthwise

logger = logging.getLogger(__name__)

Batch = dict[str, Tensor]
LossFunction = Callable[[Tensor, Tensor, Batch, bool], dict[str, Tensor]]
"""(features, prediction, batch, training) -> scalars, of which `total` is minimised."""


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How to train; the defaults are eDifFIQA's.

    Attributes:
        epochs: Passes over the data.
        batch_size: Images a step and process.
        head_lr: Learning rate of the head.
        backbone_lr: Learning rate of the backbone.
        backbone_tensors: How many of the last backbone parameter tensors are trained, the rest is frozen; -1 for all.
        frozen_norm: Keep the batch norms of the backbone as they are, statistics included.
        weight_decay: Of Adam (AdamW where above 0).
        schedule: `constant`, or `one-cycle`: linear rise over the first tenth of the steps, cosine fall to 0.
        clip: Largest gradient norm.
        precision: `no`, `bf16` or `fp16` (autocast).
        ema: Decay of the averaged weights, which are then validated and kept; 0 for none.
        flip: Probability of a left-right flip.
        seed: Of order and flips.
        workers: Loading processes.
        cache: Keep decoded crops in memory.
        save_every: Steps between checkpoints to resume from; one is written after every epoch in any case.
    """

    epochs: int = 3
    batch_size: int = 128
    head_lr: float = 1e-3
    backbone_lr: float = 1e-4
    backbone_tensors: int = 100
    frozen_norm: bool = False
    weight_decay: float = 0.0
    schedule: str = "constant"
    clip: float = 5.0
    precision: str = "no"
    ema: float = 0.0
    flip: float = 0.0
    seed: int = 0
    workers: int = 0
    cache: bool = False
    save_every: int = 500

    def __post_init__(self) -> None:
        if self.schedule not in ("constant", "one-cycle"):
            raise InputError(f"schedule is {self.schedule!r}, wanted constant or one-cycle")
        if self.precision not in ("no", "bf16", "fp16"):
            raise InputError(f"precision is {self.precision!r}, wanted no, bf16 or fp16")


def fit(
    network: QualityNetwork,
    variant: Variant,
    train_set: FaceDataset,
    validation_set: FaceDataset,
    loss: LossFunction,
    settings: FitSettings,
    out: Path,
) -> Path:
    """Train a network and keep its best weights; a run that was interrupted goes on where it stopped.

    Args:
        network: Trained in place.
        variant: Its normalisation.
        train_set: Items to train on.
        validation_set: Items to validate on, after each epoch.
        loss: See `LossFunction`.
        settings: See `FitSettings`.
        out: Folder for `best.safetensors`, `last.safetensors`, `history.json`, `state.pt` and TensorBoard's logs.

    Returns:
        Path of `best.safetensors`.

    Raises:
        InputError: `state.pt` in the folder is of a run with other settings, or another run is writing there.
    """
    run = _Run(network, variant, train_set, validation_set, loss, settings, out)
    with exclusive(out if run.accelerator.is_main_process else None):
        return run.run()


class _FeaturesAndQuality(nn.Module):
    """The network with both outputs from `forward`, which is what wrappers for several devices call."""

    def __init__(self, network: QualityNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.features_and_quality(images)


class _Run:
    def __init__(
        self,
        network: QualityNetwork,
        variant: Variant,
        train_set: FaceDataset,
        validation_set: FaceDataset,
        loss: LossFunction,
        settings: FitSettings,
        out: Path,
    ) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.variant, self.loss, self.settings, self.out = variant, loss, settings, out
        precision = settings.precision
        self.accelerator = Accelerator(mixed_precision=precision, log_with="tensorboard", project_dir=out)
        self.batches = EpochBatches(len(train_set), settings.batch_size, True, settings.seed)
        self.total_steps = settings.epochs * math.ceil(len(self.batches) / self.accelerator.num_processes)
        if self.accelerator.device.type == "cpu":
            speed_up_depthwise(network)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = parameter_groups(network, settings)
        optimiser = torch.optim.AdamW(groups) if settings.weight_decay else torch.optim.Adam(groups)
        check = EpochBatches(len(validation_set), settings.batch_size, False)
        self.model, self.optimiser, self.train_loader, self.validation_loader = self.accelerator.prepare(
            _FeaturesAndQuality(self.network),
            optimiser,
            DataLoader(train_set, batch_sampler=self.batches, num_workers=settings.workers),
            DataLoader(validation_set, batch_sampler=check, num_workers=settings.workers),
        )
        self.average: AveragedModel | None = None
        if settings.ema:
            average = get_ema_multi_avg_fn(settings.ema)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        self.epoch, self.step_in_epoch, self.step = 0, 0, 0
        self.history: list[dict[str, float]] = []

    def run(self) -> Path:
        self._resume()
        self.accelerator.init_trackers("tensorboard")
        while self.epoch < self.settings.epochs:
            self._train_epoch()
            self.epoch, self.step_in_epoch = self.epoch + 1, 0
            self._validate()
            self._save()
        self.accelerator.end_training()
        return self.out / "best.safetensors"

    def _train_epoch(self) -> None:
        self.model.train()
        if self.settings.frozen_norm:
            for norm in _batch_norms(self.network.base_model):
                norm.eval()
        self.batches.epoch, self.batches.start = self.epoch, self.step_in_epoch * self.accelerator.num_processes
        left = len(self.train_loader) - self.step_in_epoch
        with progress_bar(f"epoch {self.epoch + 1}", left) as advance:
            for batch in self.train_loader:
                self._train_step(batch)
                advance(1)

    def _train_step(self, batch: Batch) -> None:
        self._set_rates()
        terms = self._terms(batch, training=True)
        self.optimiser.zero_grad()
        self.accelerator.backward(terms["total"])
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self.step += 1
        self.step_in_epoch += 1
        if self.step % 20 == 0:
            self.accelerator.log({f"train/{name}": value.item() for name, value in terms.items()}, self.step)
        if self.step % self.settings.save_every == 0:
            self._save()

    def _terms(self, batch: Batch, training: bool) -> dict[str, Tensor]:
        images = normalised(batch["image"], self.variant.mean, self.variant.std)
        with self.accelerator.autocast():
            model = self.model if training else _FeaturesAndQuality(self._kept())
            features, prediction = model(images.contiguous(memory_format=torch.channels_last))
        return self.loss(features.float(), prediction.float(), batch, training)

    def _kept(self) -> QualityNetwork:
        """The weights that are validated and saved."""
        return self.network if self.average is None else cast(QualityNetwork, self.average.module)

    def _set_rates(self) -> None:
        factor = rate_factor(self.settings.schedule, self.step, self.total_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_lr"] * factor

    @torch.no_grad()
    def _validate(self) -> None:
        self._kept().eval()
        sums: dict[str, float] = {}
        count = 0
        for batch in self.validation_loader:
            size = len(batch["image"])
            for name, value in self._terms(batch, training=False).items():
                mean = self.accelerator.reduce(value.detach(), "mean").item()
                sums[name] = sums.get(name, 0.0) + mean * size
            count += size
        entry = {"epoch": float(self.epoch), "step": float(self.step)}
        entry |= {name: value / count for name, value in sums.items()}
        self.history.append(entry)
        logger.info(
            "epoch %d: %s", self.epoch, "  ".join(f"{name} {value / count:.4f}" for name, value in sums.items())
        )
        self.accelerator.log({f"validation/{name}": value / count for name, value in sums.items()}, self.step)
        if self.accelerator.is_main_process:
            save_network(self._kept(), self.out / "last.safetensors")
            if entry["total"] <= min(past["total"] for past in self.history):
                save_network(self._kept(), self.out / "best.safetensors")
            (self.out / "history.json").write_text(json.dumps(self.history, indent=1))

    def _save(self) -> None:
        if not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        state = {
            "settings": asdict(self.settings),
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "progress": {"epoch": self.epoch, "step_in_epoch": self.step_in_epoch, "step": self.step},
            "history": self.history,
        }
        temporary = self.out / "state.pt.tmp"
        torch.save(state, temporary)
        os.replace(temporary, self.out / "state.pt")

    def _resume(self) -> None:
        path = self.out / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        for key, value in asdict(self.settings).items():
            if state["settings"].get(key) != value:
                raise InputError(
                    f"{path} is of a run with {key}={state['settings'].get(key)!r}, this one has {key}={value!r}; "
                    "give another --out to train anew"
                )
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        progress = state["progress"]
        self.epoch, self.step_in_epoch, self.step = progress["epoch"], progress["step_in_epoch"], progress["step"]
        self.history = state["history"]
        logger.info("resumed at epoch %d, step %d", self.epoch, self.step)


def parameter_groups(network: QualityNetwork, settings: FitSettings) -> list[dict[str, Any]]:
    """Head and the last backbone tensors with their rates; the other parameters are frozen in place."""
    backbone = list(network.base_model.parameters())
    if settings.frozen_norm:
        frozen = {id(parameter) for norm in _batch_norms(network.base_model) for parameter in norm.parameters()}
        for parameter in backbone:
            parameter.requires_grad_(id(parameter) not in frozen)
        backbone = [parameter for parameter in backbone if id(parameter) not in frozen]
    count = len(backbone) if settings.backbone_tensors < 0 else min(settings.backbone_tensors, len(backbone))
    for parameter in backbone[: len(backbone) - count]:
        parameter.requires_grad_(False)
    groups = [(list(network.mlp.parameters()), settings.head_lr)]
    if count:
        groups.append((backbone[-count:], settings.backbone_lr))
    decay = settings.weight_decay
    return [{"params": params, "lr": rate, "base_lr": rate, "weight_decay": decay} for params, rate in groups]


def _batch_norms(backbone: nn.Module) -> list[nn.Module]:
    return [module for module in backbone.modules() if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]


def rate_factor(schedule: str, step: int, total: int) -> float:
    """Factor of the learning rates at a step, a function of nothing else so that a resumed run has the same."""
    if schedule == "constant":
        return 1.0
    warm = max(1, total // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
