"""The diffusion of DifFIQA: noising, restoring by DDIM, and the loss.

Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020; Song, Meng and Ermon, "Denoising
Diffusion Implicit Models", ICLR 2021. As published, the network predicts the clean image x0, not the noise.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdk.errors import ModelError
from sdk.text import shortened
from train.networks import load_state
from train.networks.state_files import read_checkpoint
from train.networks.unet import GROUPS, MULTIPLIERS, UNet

TIMESTEPS = 1000
TRAINED_STEPS = 100
"""The network is trained on the first steps of the schedule only."""
MOST_TIMESTEPS = 10_000
"""With more, float32 is too coarse for the little noise of the first step."""
MOST_LEVELS = 5
"""A face of 112 x 112 is halved between two levels: 112, 56, 28, 14, 7."""
WIDTH_KEY = "model.init_conv.weight"

LOSSES: dict[str, Callable[..., Tensor]] = {"l2": F.mse_loss, "l1": F.l1_loss}

_Formula = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

# Both take sqrt(a) and sqrt(1 - a) last, where `noisy = sqrt(a) * clean + sqrt(1 - a) * noise`.
TARGETS: dict[str, _Formula] = {
    "x0": lambda noisy, clean, kept, added: clean,
    "noise": lambda noisy, clean, kept, added: (noisy - kept * clean) / added,
    "v": lambda noisy, clean, kept, added: (kept * noisy - clean) / added,
}
"""What the network learns to predict, from noisy and clean images, by objective.

`v = sqrt(a) * noise - sqrt(1 - a) * clean` is that of Salimans and Ho, "Progressive Distillation for Fast Sampling of
Diffusion Models", ICLR 2022. The noise is all that separates the noisy image from the clean one: in training that is
what was drawn, and the damage of a degraded face.
"""
RESTORED: dict[str, _Formula] = {
    "x0": lambda noisy, predicted, kept, added: predicted,
    "noise": lambda noisy, predicted, kept, added: (noisy - added * predicted) / kept,
    "v": lambda noisy, predicted, kept, added: kept * noisy - added * predicted,
}
"""Clean images, from noisy images and the network's prediction, by objective: `TARGETS` turned round."""


class Diffusion(nn.Module):
    """A UNet with its noise schedule; keys and shapes are those of the published checkpoint's `model`.

    Images are float32 RGB (N, 3, 112, 112) in [-1, 1], steps int64 (N,) in 0 .. timesteps - 1. The defaults are the
    published values.

    Args:
        width: Of the UNet.
        multipliers: Of the UNet.
        timesteps: Steps of the schedule.
        schedule: See `SCHEDULES`.
        objective: What the UNet predicts, see `TARGETS`.
    """

    def __init__(
        self,
        width: int = 128,
        multipliers: Sequence[int] = MULTIPLIERS,
        timesteps: int = TIMESTEPS,
        schedule: str = "cosine",
        objective: str = "x0",
    ) -> None:
        super().__init__()
        for name, values in schedule_buffers(schedule, timesteps).items():
            self.register_buffer(name, values.float())
        self.model = UNet(width, multipliers)
        self.objective = objective

    def q_sample(self, images: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        """Return `sqrt(a) * images + sqrt(1 - a) * noise`, where `a = alphas_cumprod[step]` of each image."""
        kept, added = self._shares(steps)
        return kept * images + added * noise

    def predict(self, noisy: Tensor, steps: Tensor) -> Tensor:
        """Return the clean images (x0) as the network predicts them at once, which may leave [-1, 1]."""
        return RESTORED[self.objective](noisy, self.model(noisy, steps).float(), *self._shares(steps))

    def restore(self, noisy: Tensor, t: int, noise: Sequence[Tensor]) -> Tensor:
        """Take noise away by DDIM with eta = 1, from step `t - 1` down.

        Args:
            noisy: `q_sample(images, t, ...)`.
            t: The step it was noised to, at least 1.
            noise: t - 1 tensors of the images' shape, for the transitions in their order.

        Returns:
            The last prediction of x0, in [-1, 1].
        """
        x, left = noisy, iter(noise)
        clean = noisy
        for step, following in ddim_transitions(t):
            steps = torch.full((len(x),), step, device=x.device)
            clean = self.predict(x, steps).clamp(-1, 1)
            if following < 0:
                break
            remaining = self.get_buffer("alphas_cumprod")
            here, there = remaining[step], remaining[following]
            variance = (1 - here / there) * (1 - there) / (1 - here)
            grain = TARGETS["noise"](x, clean, *self._shares(steps))
            x = there.sqrt() * clean + (1 - there - variance).sqrt() * grain
            if following < step:  # from a step to itself nothing is drawn: the variance is 0
                x = x + variance.sqrt() * next(left)
        return clean

    def loss(self, clean: Tensor, degraded: Tensor, steps: Tensor, noise: Tensor, kind: str = "l2") -> Tensor:
        """Return the mean error of what the network predicts from the `mixture`: square (`l2`) or absolute (`l1`)."""
        noisy = self.mixture(clean, degraded, steps, noise)
        target = TARGETS[self.objective](noisy, clean, *self._shares(steps))
        errors = LOSSES[kind](self.model(noisy, steps).float(), target, reduction="none").mean((1, 2, 3))
        return (errors * self.get_buffer("p2_loss_weight")[steps]).mean()

    def mixture(self, clean: Tensor, degraded: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        """Make the images that the model is trained to restore, for steps in 0 .. 99.

        The share `sin(step / 100 * pi / 2)` of the degraded faces is mixed into the clean ones; noise is added.
        """
        share = torch.sin(steps / TRAINED_STEPS * (math.pi / 2)).view(-1, 1, 1, 1)
        return self.q_sample((1 - share) * clean + share * degraded, steps, noise)

    def _shares(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the shares (N, 1, 1, 1) of image and noise, sqrt(a) and sqrt(1 - a)."""
        names = ("sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod")
        kept, added = (self.get_buffer(name)[steps].view(-1, 1, 1, 1) for name in names)
        return kept, added


def ddim_transitions(t: int) -> list[tuple[int, int]]:
    """Return the steps and their successors: for t = 5 (4, 3), (3, 2), (2, 1), (1, 0), (0, 0), (0, -1).

    The step from 0 to 0 comes from rounding towards 0; the published scores were computed with it.
    """
    steps = [int(value) for value in np.linspace(-1, t - 1, t + 2)][::-1]
    return list(pairwise(steps))


def _cosine(timesteps: int) -> Tensor:
    s = 0.008
    angles = (torch.arange(timesteps + 1, dtype=torch.float64) / timesteps + s) / (1 + s) * (math.pi / 2)
    remaining = angles.cos() ** 2 / angles[0].cos() ** 2
    return (1 - remaining[1:] / remaining[:-1]).clamp(0, 0.999)


def _linear(timesteps: int) -> Tensor:
    return torch.linspace(1e-4, 0.02, timesteps, dtype=torch.float64) * (1000 / timesteps)


SCHEDULES: dict[str, Callable[[int], Tensor]] = {"cosine": _cosine, "linear": _linear}
"""Betas float64 (timesteps,) by the number of timesteps, by name.

`cosine` is that of Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", ICML 2021, with s = 0.008
and betas of at most 0.999. `linear` is that of Ho, Jain and Abbeel: from 0.0001 to 0.02 with 1000 timesteps, and
1000 / timesteps times as much with others.
"""


def schedule_buffers(name: str = "cosine", timesteps: int = TIMESTEPS) -> dict[str, Tensor]:
    """Return a schedule, float64 (timesteps,) by names of the published checkpoint."""
    betas = SCHEDULES[name](timesteps)
    kept = (1 - betas).cumprod(0)
    previous = F.pad(kept[:-1], (1, 0), value=1.0)
    variance = betas * (1 - previous) / (1 - kept)
    return {
        "betas": betas,
        "alphas_cumprod": kept,
        "alphas_cumprod_prev": previous,
        "sqrt_alphas_cumprod": kept.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - kept).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - kept).log(),
        "sqrt_recip_alphas_cumprod": (1 / kept).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / kept - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * previous.sqrt() / (1 - kept),
        "posterior_mean_coef2": (1 - previous) * (1 - betas).sqrt() / (1 - kept),
        "p2_loss_weight": torch.ones_like(betas),
    }


def load_diffusion(path: Path) -> Diffusion:
    """Load a published checkpoint (its `model`) or one of ours, strictly.

    Width, multipliers and schedule are those of the file's tensors. The objective stands in the metadata of our files,
    and in the settings of our `state.pt`; a file without either predicts x0, as published.

    Returns:
        The diffusion on the CPU, in evaluation mode.

    Raises:
        ModelError: The file cannot be read, or is no such checkpoint.
    """
    # Published scores were computed with the section `model`, not with the averages beside it.
    state, notes = read_checkpoint(path, lambda found: WIDTH_KEY in found and "betas" in found, first=("model",))
    objective = notes.get("objective", "x0")
    if objective not in list(TARGETS):
        raise ModelError(
            f"{path} says that its network predicts {shortened(repr(objective))}, wanted {', '.join(TARGETS)}; "
            "it may need a later version of fiqa"
        )
    shape = _shape_of(state, path)
    with torch.device("meta"):  # takes no memory, for a small file could ask for a network of any size
        wanted = sum(tensor.numel() for tensor in Diffusion(**shape).state_dict().values())
    values = sum(tensor.numel() for tensor in state.values())
    if values < wanted // 2:
        raise ModelError(
            f"{path} has {values:,} values, too few for a diffusion model of width {shape['width']}; fetch it again"
        )
    diffusion = Diffusion(**shape, objective=objective)
    load_state(diffusion, state, f"{path} as a diffusion model")
    return diffusion.eval()


def _shape_of(state: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """Return the `width`, `multipliers` and `timesteps` of a state dict; what it lacks is as published.

    Raises:
        ModelError: It is no state dict of this UNet, or of one that faces of 112 x 112 do not fit.
    """
    shape = tuple(state[WIDTH_KEY].shape) if WIDTH_KEY in state else None
    if shape is None or len(shape) != 4 or shape[0] % GROUPS or not shape[0]:
        found = f"{WIDTH_KEY} of shape {shape}" if shape else f"no {WIDTH_KEY}"
        raise ModelError(
            f"{path} holds {found}, wanted (width, 3, 7, 7), width a multiple of {GROUPS}: a diffusion model, "
            "as `fiqa-train fit diffiqa` writes it or as published"
        )
    widths: list[int] = []
    while (key := f"model.downs.{len(widths)}.3.weight") in state and state[key].ndim == 4:
        widths.append(len(state[key]))
    if len(widths) > MOST_LEVELS:
        raise ModelError(f"{path} has a UNet of {len(widths)} levels, wanted {MOST_LEVELS} or fewer for 112 x 112")
    timesteps = state["betas"].numel() if "betas" in state else TIMESTEPS
    if not TRAINED_STEPS <= timesteps <= MOST_TIMESTEPS:
        raise ModelError(f"{path} has {timesteps} timesteps, wanted {TRAINED_STEPS} to {MOST_TIMESTEPS}")
    # Where a width is no multiple, loading the tensors says so.
    multipliers = tuple(max(1, width // shape[0]) for width in widths) or MULTIPLIERS
    return {"width": shape[0], "multipliers": multipliers, "timesteps": timesteps}
