"""Train the diffusion model of DifFIQA on pairs of a face and a degraded copy.

Everything random about a pair depends on seed, epoch and row alone, and is drawn by the loading processes: the flip,
the degradation, the step and the noise. So a run that is interrupted ends with the weights of one that is not.
"""

import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sdk.errors import InputError
from sdk.files import write_file
from sdk.text import shortened
from train.data.dataset import FaceDataset, Item, normalised
from train.data.manifest import Manifest, read_manifest
from train.degradations.bsrgan import degrade_face
from train.device.compiling import worth_compiling
from train.fitting.learner import Learner
from train.fitting.settings import FREE, TrainerSettings, check_one_of, recorded
from train.fitting.task import Batch, Optimisation, Terms, fused
from train.fitting.trainer import Trainer
from train.methods.diffusion import (
    LOSSES,
    MOST_LEVELS,
    MOST_TIMESTEPS,
    SCHEDULES,
    TARGETS,
    TIMESTEPS,
    TRAINED_STEPS,
    Diffusion,
)
from train.networks.recognition import device_of
from train.networks.unet import MULTIPLIERS
from train.networks.variants import HALF
from train.recipes import Recipe, check_least, settings_from
from train.run_state import RunRecord, digest

logger = logging.getLogger(__name__)

COMPILE_FROM = 10_000
"""Steps from which on a GPU compiles the UNet by default: that takes a minute or more, and each step is shorter."""

READ_EVERY = 20
"""Steps between reads of the loss. A read at each step would let the device wait for Python."""

GRID = 5
"""Faces a side of the grid that shows what the model restores."""

CHOSEN_LATER = ("multipliers", "timesteps", "schedule", "objective", "loss")
"""Settings that earlier versions did not have: their runs go on with the defaults."""


@dataclass(frozen=True, slots=True)
class DiffusionSettings(TrainerSettings):
    """How to train; the defaults are the published values.

    See `TrainerSettings` for the others. The averaged weights (`ema`) are what is kept; the loading processes
    (`workers`) also degrade the faces; a flip turns both faces of a pair. `compile` is None for what suits the device
    and the number of steps, see `worth_compiling`.

    Attributes:
        width: Channels of the UNet at the first resolution.
        multipliers: Channels at the end of each level of the UNet, in widths; a level more halves the faces once more.
        timesteps: Steps of the noise schedule; the model is trained on the first 100.
        schedule: Of the noise: `cosine` or `linear`, see `SCHEDULES`.
        objective: What the UNet predicts: the clean face (`x0`), the `noise`, or `v`, see `TARGETS`.
        loss: Of what it predicts: `l2`, the square error, or `l1`, the absolute one.
        steps: Steps of the optimiser.
        accumulate: Passes forward and back a step.
        lr: Learning rate of Adam.
        betas: Of Adam.
        ema_every: Steps between updates of the average.
        sample_every: Steps between grids of restored faces.
    """

    batch_size: int = 16
    ema: float = 0.995
    flip: float = 0.5
    workers: int | None = 4
    compile: bool | None = None
    width: int = 128
    multipliers: tuple[int, ...] = MULTIPLIERS
    timesteps: int = TIMESTEPS
    schedule: str = "cosine"
    objective: str = "x0"
    loss: str = "l2"
    steps: int = 100_000
    accumulate: int = 4
    lr: float = 8e-5
    betas: tuple[float, float] = (0.9, 0.99)
    ema_every: int = 10
    sample_every: int = 500

    def __post_init__(self) -> None:
        TrainerSettings.__post_init__(self)
        check_least(self, 1, "steps", "accumulate", "ema_every", "sample_every")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"betas is {self.betas}, wanted two numbers of 0 or more, below 1")
        if self.width < 8 or self.width % 8:
            raise InputError(f"width is {self.width}, wanted a multiple of 8, such as 128")
        if not 1 <= len(self.multipliers) <= MOST_LEVELS or min(self.multipliers) < 1:
            raise InputError(
                f"multipliers is {shortened(repr(list(self.multipliers)))}, wanted 1 to {MOST_LEVELS} whole numbers of "
                "1 or more: faces of 112 x 112 are halved between two levels, at most to 7 x 7"
            )
        if not TRAINED_STEPS <= self.timesteps <= MOST_TIMESTEPS:
            raise InputError(
                f"timesteps is {self.timesteps}, wanted {TRAINED_STEPS} to {MOST_TIMESTEPS}: the model is trained on "
                f"the first {TRAINED_STEPS} steps, and with more than {MOST_TIMESTEPS} the first adds no noise"
            )
        check_one_of(self, "schedule", tuple(SCHEDULES))
        check_one_of(self, "objective", tuple(TARGETS))
        check_one_of(self, "loss", tuple(LOSSES))


class PairDataset(FaceDataset):
    """`image` and `degraded` uint8 RGB (3, 112, 112), `step` int64 in 0 .. 99, `noise` float32 (3, 112, 112)."""

    def __getitem__(self, key: tuple[int, int]) -> Item:
        item = super().__getitem__(key)
        epoch, index = key
        rng = np.random.default_rng([self._seed, epoch, int(self._rows[index]), 1])
        face = item["image"].numpy()[::-1].transpose(1, 2, 0)
        degraded = degrade_face(face, rng)[..., ::-1].transpose(2, 0, 1)
        return {
            **item,
            "degraded": torch.from_numpy(np.ascontiguousarray(degraded)),
            "step": int(rng.integers(TRAINED_STEPS)),
            "noise": torch.from_numpy(rng.standard_normal(degraded.shape, dtype=np.float32)),
        }


def fit_diffiqa(settings: DiffusionSettings, source: Path, out: Path) -> Path:
    """Train and keep the averaged weights; a run that was interrupted goes on where it stopped.

    Args:
        settings: See `DiffusionSettings`.
        source: Folder of faces, or a manifest. Where it has a column `split` only its rows `train` are used, where it
            has a column `degradation` only the clean ones.
        out: Folder for `diffusion.safetensors`, `state.pt` (its `model`, `opt`, `ema`, `scaler` and `step` as in the
            published checkpoint), `losses.json` (one a step), `samples/` and TensorBoard's logs.

    Returns:
        Path of `diffusion.safetensors`.

    Raises:
        InputError: There is no face to train on, `state.pt` in the folder is of a run with other settings or faces, or
            another run is writing there.
        OutputError: The disk is full; started again, the run goes on.
    """
    manifest = read_manifest(source)
    rows = clean_rows(manifest)
    if len(rows) == 0:
        raise InputError(f"{source} has no clean face to train on, wanted rows of split 'train' without degradation")
    logger.info("%d faces to train on", len(rows))
    pairs = PairDataset(manifest, rows, {}, settings.flip, settings.seed, settings.cache)
    paths = manifest.paths
    inputs = {"images": digest(["\n".join(paths[row] for row in rows)])}
    earlier = {name: getattr(DiffusionSettings(), name) for name in CHOSEN_LATER}
    values = {**recorded(settings), "faces": len(rows)}
    record = RunRecord(values, inputs, FREE | {"steps", "sample_every"}, earlier)
    if settings.compile is None:
        settings = replace(settings, compile=worth_compiling(device_of("auto"), settings.steps, COMPILE_FROM))
    Trainer(Restoration(pairs, settings), Samples(pairs, settings, out), settings, out, record).run()
    return out / "diffusion.safetensors"


def clean_rows(manifest: Manifest) -> NDArray[np.int64]:
    """Return the rows that are for training and are no damaged copies."""
    wanted = np.ones(len(manifest), bool)
    if "split" in manifest.table.column_names:
        wanted &= np.array(manifest.column("split")) == "train"
    if "degradation" in manifest.table.column_names:
        wanted &= np.array([not value for value in manifest.column("degradation")])
    return np.flatnonzero(wanted)


class Restoration:
    """The task: restore clean faces from noisy mixtures with degraded ones, see `Diffusion.loss`.

    Args:
        pairs: See `PairDataset`.
        settings: See `DiffusionSettings`.
    """

    loss_scale = 65536.0

    def __init__(self, pairs: PairDataset, settings: DiffusionSettings) -> None:
        self.train_set, self._settings = pairs, settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.network = Diffusion(
                settings.width, settings.multipliers, settings.timesteps, settings.schedule, settings.objective
            )

    @property
    def body(self) -> nn.Module:
        """See `Task`."""
        return self.network.model

    def module_of(self, network: nn.Module) -> nn.Module:
        """See `Task`."""
        return _Loss(network, self._settings.loss)

    def optimisation(self, passes: int) -> Optimisation:
        """See `Task`."""
        how = self._settings
        optimiser = torch.optim.Adam(self.network.parameters(), how.lr, how.betas, fused=fused(self.network) or None)
        return Optimisation(optimiser, how.steps, how.accumulate, averages=lambda step: step % how.ema_every == 0)

    def terms(self, module: Callable[..., Any], batch: Batch, training: bool) -> Terms:
        """See `Task`."""
        return {"total": module(*_inputs(batch))}


class _Loss(nn.Module):
    """The loss as `forward`."""

    def __init__(self, diffusion: nn.Module, kind: str) -> None:
        super().__init__()
        self.diffusion, self._kind = diffusion, kind

    def forward(self, *arguments: Tensor) -> Tensor:
        return self.diffusion.loss(*arguments, self._kind)  # type: ignore[operator]


class Samples:
    """Results: the averaged weights, the loss of each step, and pictures of restored faces.

    Args:
        pairs: See `PairDataset`.
        settings: See `DiffusionSettings`.
        out: Folder for `diffusion.safetensors`, `losses.json` and `samples/`.
    """

    def __init__(self, pairs: PairDataset, settings: DiffusionSettings, out: Path) -> None:
        self._pairs, self._settings, self._out = pairs, settings, out
        self._losses: list[float] = []
        self._unread: list[Tensor] = []

    def after_step(self, step: int, learner: Learner, terms: Terms) -> bool:
        """Write what is due after a step, see `Results`.

        Raises:
            InputError: The loss is no finite number.
        """
        self._unread.append(terms["total"])
        done = step == self._settings.steps
        save = done or step % self._settings.save_every == 0
        if save or len(self._unread) == READ_EVERY:
            self._read_losses(step, learner)
        if learner.accelerator.is_main_process:
            if done or step % self._settings.sample_every == 0:
                self._write_samples(step, learner)
            if save:
                notes = {"objective": self._settings.objective}
                learner.write_kept(self._out / "diffusion.safetensors", metadata=notes)
                text = json.dumps([round(loss, 6) for loss in self._losses], allow_nan=False)
                write_file(self._out / "losses.json", text)
        return save

    def _read_losses(self, step: int, learner: Learner) -> None:
        """Read the losses of the steps up to this one from the device, which waits for them."""
        losses = learner.means(torch.stack(self._unread))
        self._unread = []
        for back, loss in zip(reversed(range(len(losses))), losses, strict=True):
            if not math.isfinite(loss):
                raise InputError(f"the loss is {loss} at step {step - back}; lower the learning rate")
        self._losses += losses

    def state(self) -> dict[str, Any]:
        """See `Results`."""
        return {"losses": self._losses}

    def load(self, state: dict[str, Any]) -> None:
        """See `Results`."""
        self._losses = [float(loss) for loss in state["losses"]]

    @torch.no_grad()
    def _write_samples(self, step: int, learner: Learner) -> None:
        """Restore a few faces in one pass, from steps 0 to 99; show each as given, as restored, and as it was."""
        count = min(GRID**2, len(self._pairs))
        items = [self._pairs[(0, index)] for index in np.linspace(0, len(self._pairs) - 1, count).astype(int)]
        device, diffusion = learner.accelerator.device, learner.kept
        assert isinstance(diffusion, Diffusion)
        batch = {
            name: torch.stack([item[name] for item in items]).to(device) for name in ("image", "degraded", "noise")
        }
        batch["step"] = torch.linspace(0, TRAINED_STEPS - 1, count, device=device).long()
        clean, *rest = _inputs(batch)
        given = diffusion.mixture(clean, *rest)
        with learner.accelerator.autocast():
            restored = diffusion.predict(given, batch["step"])
        grid = picture_grid(torch.cat([given, restored, clean], -1), GRID)
        write_file(self._out / "samples" / f"{step:06d}.png", cv2.imencode(".png", grid)[1].tobytes())


def _inputs(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return clean and degraded faces in [-1, 1], steps and noise, as `Diffusion.loss` takes them."""
    clean, degraded = (
        normalised(batch[name], HALF, HALF).contiguous(memory_format=torch.channels_last)
        for name in ("image", "degraded")
    )
    return clean, degraded, batch["step"], batch["noise"]


def picture_grid(images: Tensor, columns: int) -> NDArray[np.uint8]:
    """Put images, RGB (N, 3, H, W) in [-1, 1], into a square grid, uint8 BGR; empty places are black."""
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()[:, ::-1].transpose(0, 2, 3, 1)
    count, height, width, _ = pixels.shape
    rows = -(-count // columns)
    grid = np.zeros((rows * columns, height, width, 3), np.uint8)
    grid[:count] = pixels
    return grid.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)


def diffusion_settings(recipe: Recipe) -> DiffusionSettings:
    """Read a recipe's section `diffusion`.

    Raises:
        InputError: There is none, or it has an unknown setting.
    """
    if "diffusion" not in recipe:
        raise InputError("the recipe has no section 'diffusion'; diffiqa and diffiqa-small are recipes that have")
    return settings_from(DiffusionSettings, recipe["diffusion"])
