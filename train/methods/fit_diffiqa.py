"""Train the diffusion model of DifFIQA: pairs of a face and a degraded copy, averaged weights, exact resume.

Everything random about a sample depends on seed, pass and row alone, and is drawn by the loading processes: the flip,
the degradation, the step and the noise. So a run that is interrupted ends with the weights of one that is not.
"""

import contextlib
import hashlib
import json
import logging
import math
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from sdk.commands.console import progress_bar
from sdk.errors import InputError
from sdk.files import make_folder, write_file
from train.data.dataset import EpochBatches, FaceDataset, Item, normalised
from train.data.manifest import Manifest, read_manifest
from train.degradations.bsrgan import degrade_face
from train.fitting.trainer import make_accelerator, reading_state
from train.lock import exclusive
from train.methods.diffusion import TRAINED_STEPS, Diffusion
from train.networks import save_network
from train.networks.checkpoints import replace_checkpoint
from train.networks.variants import HALF
from train.recipes import Recipe, check_least, settings_from
from train.run_state import check_kept

logger = logging.getLogger(__name__)

Batch = dict[str, Tensor]

GRID = 5
"""Faces a side of the grid that shows what the model restores."""

FREE = ("steps", "workers", "cache", "sample_every", "save_every")
"""Settings that a run may be resumed with other values of: they decide no step's weights."""


@dataclass(frozen=True, slots=True)
class DiffusionSettings:
    """How to train; the defaults are the published values.

    Attributes:
        width: Channels of the UNet at the first resolution.
        steps: Steps of the optimiser.
        batch_size: Faces a pass forward and back, and process.
        accumulate: Passes a step.
        lr: Learning rate of Adam.
        betas: Of Adam.
        ema: Decay of the averaged weights, which are what is kept.
        ema_every: Steps between updates of the average.
        flip: Probability of a left-right flip of both faces of a pair.
        precision: `no`, `bf16` or `fp16` (autocast).
        seed: Of order, flips, degradations, steps and noise, and of the first weights.
        workers: Loading processes, which also degrade the faces.
        cache: Keep decoded crops in memory.
        sample_every: Steps between grids of restored faces.
        save_every: Steps between checkpoints to resume from.
    """

    width: int = 128
    steps: int = 100_000
    batch_size: int = 16
    accumulate: int = 4
    lr: float = 8e-5
    betas: tuple[float, float] = (0.9, 0.99)
    ema: float = 0.995
    ema_every: int = 10
    flip: float = 0.5
    precision: str = "no"
    seed: int = 0
    workers: int = 4
    cache: bool = False
    sample_every: int = 500
    save_every: int = 500

    def __post_init__(self) -> None:
        check_least(self, 1, "steps", "batch_size", "accumulate", "ema_every", "sample_every", "save_every")
        check_least(self, 0, "workers", "seed")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"betas is {self.betas}, wanted two numbers of 0 or more, below 1")
        if self.width < 8 or self.width % 8:
            raise InputError(f"width is {self.width}, wanted a multiple of 8, such as 128")
        if self.precision not in ("no", "bf16", "fp16"):
            raise InputError(f"precision is {self.precision!r}, wanted no, bf16 or fp16")


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
    data = PairDataset(manifest, rows, {}, settings.flip, settings.seed, settings.cache)
    logger.info("%d faces to train on", len(rows))
    make_folder(out)
    paths = manifest.paths
    digest = hashlib.sha256("\n".join(paths[row] for row in rows).encode()).hexdigest()
    run = _Run(data, settings, out, {"faces": len(rows), "images": digest})
    with exclusive(out if run.accelerator.is_main_process else None):
        return run.run()


def clean_rows(manifest: Manifest) -> NDArray[np.int64]:
    """Rows that are for training, and are not damaged copies."""
    wanted = np.ones(len(manifest), bool)
    if "split" in manifest.table.column_names:
        wanted &= np.array(manifest.column("split")) == "train"
    if "degradation" in manifest.table.column_names:
        wanted &= np.array([not value for value in manifest.column("degradation")])
    return np.flatnonzero(wanted)


class _Loss(torch.nn.Module):
    """The loss as `forward`, which is what wrappers for several devices call."""

    def __init__(self, diffusion: Diffusion) -> None:
        super().__init__()
        self.diffusion = diffusion

    def forward(self, *arguments: Tensor) -> Tensor:
        return self.diffusion.loss(*arguments)


class _Run:
    """`faces` is what a run is only continued with the same of, beside the settings."""

    def __init__(self, data: PairDataset, settings: DiffusionSettings, out: Path, faces: dict[str, int | str]) -> None:
        self.data, self.settings, self.out, self.faces = data, settings, out, faces
        self.accelerator = make_accelerator(settings.precision, out)
        self.batches = EpochBatches(len(data), settings.batch_size, True, settings.seed, self.accelerator.num_processes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.diffusion = Diffusion(settings.width)
        self.diffusion.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.Adam(self.diffusion.parameters(), settings.lr, settings.betas)
        self.model, self.optimiser, self.loader = self.accelerator.prepare(
            _Loss(self.diffusion),
            optimiser,
            DataLoader(data, batch_sampler=self.batches, num_workers=settings.workers),
        )
        average = get_ema_multi_avg_fn(settings.ema)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.diffusion, multi_avg_fn=average)
        self.losses: list[float] = []

    @property
    def kept(self) -> Diffusion:
        """The averaged model."""
        kept = self.average.module
        assert isinstance(kept, Diffusion)
        return kept

    def run(self) -> Path:
        self._resume()
        self.accelerator.init_trackers("tensorboard")
        left = self.settings.steps - len(self.losses)
        batches = self._batches(len(self.losses) * self.settings.accumulate)
        with progress_bar("diffusion", left) as advance:
            for _ in range(left):
                self.losses.append(self._step(batches))
                if not math.isfinite(self.losses[-1]):
                    raise InputError(
                        f"the loss is {self.losses[-1]} at step {len(self.losses)}; lower the learning rate"
                    )
                self._after_step(len(self.losses))
                advance(1)
        batches.close()
        self.accelerator.end_training()
        return self.out / "diffusion.safetensors"

    def _batches(self, done: int) -> Generator[Batch, None, None]:
        """Batches of this process without end, from the one after so many."""
        processes = self.accelerator.num_processes
        epoch, start = divmod(done, -(-len(self.batches) // processes))
        while True:
            self.batches.epoch, self.batches.start = epoch, start * processes
            yield from self.loader
            epoch, start = epoch + 1, 0

    def _step(self, batches: Iterator[Batch]) -> float:
        """One step of the optimiser; returns its loss."""
        self.model.train()
        total = torch.zeros((), device=self.accelerator.device)
        for part in range(self.settings.accumulate):
            last = part == self.settings.accumulate - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                loss = self.model(*_inputs(next(batches))) / self.settings.accumulate
                self.accelerator.backward(loss)
            total += loss.detach()
        self.optimiser.step()
        self.optimiser.zero_grad()
        return float(self.accelerator.reduce(total, "mean"))

    def _after_step(self, step: int) -> None:
        settings = self.settings
        if step % settings.ema_every == 0:
            self.average.update_parameters(self.diffusion)
        if step % 20 == 0:
            self.accelerator.log({"train/loss": self.losses[-1]}, step)
        if not self.accelerator.is_main_process:
            return
        done = step == settings.steps
        if step % settings.sample_every == 0 or done:
            self._write_samples(step)
        if step % settings.save_every == 0 or done:
            self._save(step)

    @torch.no_grad()
    def _write_samples(self, step: int) -> None:
        """Restore a few faces in one go from steps 0 to 99; each is shown as given, as restored, and as it was."""
        count = min(GRID**2, len(self.data))
        items = [self.data[(0, index)] for index in np.linspace(0, len(self.data) - 1, count).astype(int)]
        device = self.accelerator.device
        names = ("image", "degraded", "noise")
        batch = {name: torch.stack([item[name] for item in items]).to(device) for name in names}
        batch["step"] = torch.linspace(0, TRAINED_STEPS - 1, count, device=device).long()
        clean, *rest = _inputs(batch)
        given = self.kept.mixture(clean, *rest)
        with self.accelerator.autocast():
            restored = self.kept.model(given, batch["step"]).float()
        grid = picture_grid(torch.cat([given, restored, clean], -1), GRID)
        path = self.out / "samples" / f"{step:06d}.png"
        write_file(path, cv2.imencode(".png", grid)[1].tobytes())

    def _save(self, step: int) -> None:
        scaler = self.accelerator.scaler
        state = {
            "step": step,
            "model": self.diffusion.state_dict(),
            "opt": self.optimiser.state_dict(),
            "ema": self.average.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "settings": asdict(self.settings) | self.faces,
            "losses": self.losses,
        }
        replace_checkpoint(self.out / "state.pt", lambda temporary: torch.save(state, temporary))
        save_network(self.kept, self.out / "diffusion.safetensors")
        text = json.dumps([round(loss, 6) for loss in self.losses], allow_nan=False)
        write_file(self.out / "losses.json", text)

    def _resume(self) -> None:
        path = self.out / "state.pt"
        if not path.exists():
            return
        with reading_state(path) as state:
            decides = {key: value for key, value in (asdict(self.settings) | self.faces).items() if key not in FREE}
            found = {key: value for key, value in state["settings"].items() if key not in FREE}
            check_kept(found, decides, f"{path} is of a run", "give another --out to train anew")
            self.diffusion.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["opt"])
            self.average.load_state_dict(state["ema"])
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            self.losses = [float(loss) for loss in state["losses"]]
        logger.info("resumed at step %d", len(self.losses))


def _inputs(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Clean and degraded faces in [-1, 1], steps and noise, as `Diffusion.loss` takes them."""
    clean, degraded = (
        normalised(batch[name], HALF, HALF).contiguous(memory_format=torch.channels_last)
        for name in ("image", "degraded")
    )
    return clean, degraded, batch["step"], batch["noise"]


def picture_grid(images: Tensor, columns: int) -> NDArray[np.uint8]:
    """RGB (N, 3, H, W) in [-1, 1] -> uint8 BGR, so many a row; missing ones are black."""
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
