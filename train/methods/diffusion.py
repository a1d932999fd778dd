"""The diffusion of DifFIQA: noising, restoring by DDIM, and the loss.

Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020; cosine schedule of Nichol and Dhariwal,
"Improved Denoising Diffusion Probabilistic Models", ICML 2021; Song, Meng and Ermon, "Denoising Diffusion Implicit
Models", ICLR 2021. The network predicts the clean image x0, not the noise.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdk.errors import ModelError
from train.networks import load_state, read_state
from train.networks.unet import GROUPS, UNet

STEPS = 1000
TRAINED_STEPS = 100
"""The network is trained on the first steps of the schedule only."""
WIDTH_KEY = "model.init_conv.weight"
LEAST_VALUES = 4000
"""Values of a UNet, divided by the square of its width: it has more than twice as many."""


class Diffusion(nn.Module):
    """A UNet with its noise schedule; keys and shapes are those of the published checkpoint's `model`.

    Images are float32 RGB (N, 3, 112, 112) in [-1, 1], steps int64 (N,) in 0 .. 999.

    Args:
        width: Of the UNet.
    """

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        for name, values in schedule().items():
            self.register_buffer(name, values.float())
        self.model = UNet(width)

    def q_sample(self, images: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        """Return `sqrt(a) * images + sqrt(1 - a) * noise`, where `a = alphas_cumprod[step]` of each image."""
        kept, added = self._at("sqrt_alphas_cumprod", steps), self._at("sqrt_one_minus_alphas_cumprod", steps)
        return kept * images + added * noise

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
            clean = self.model(x, steps).float().clamp(-1, 1)
            if following < 0:
                break
            remaining = self.get_buffer("alphas_cumprod")
            here, there = remaining[step], remaining[following]
            variance = (1 - here / there) * (1 - there) / (1 - here)
            grain = x - self._at("sqrt_alphas_cumprod", steps) * clean
            grain = grain / self._at("sqrt_one_minus_alphas_cumprod", steps)
            x = there.sqrt() * clean + (1 - there - variance).sqrt() * grain
            if following < step:  # from a step to itself nothing is drawn: the variance is 0
                x = x + variance.sqrt() * next(left)
        return clean

    def loss(self, clean: Tensor, degraded: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        """Return the mean square error of the clean images, as predicted from their `mixture`."""
        noisy = self.mixture(clean, degraded, steps, noise)
        errors = F.mse_loss(self.model(noisy, steps).float(), clean, reduction="none").mean((1, 2, 3))
        return (errors * self.get_buffer("p2_loss_weight")[steps]).mean()

    def mixture(self, clean: Tensor, degraded: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        """Make the images that the model is trained to restore, for steps in 0 .. 99.

        The share `sin(step / 100 * pi / 2)` of the degraded faces is mixed into the clean ones; noise is added.
        """
        share = torch.sin(steps / TRAINED_STEPS * (math.pi / 2)).view(-1, 1, 1, 1)
        return self.q_sample((1 - share) * clean + share * degraded, steps, noise)

    def _at(self, name: str, steps: Tensor) -> Tensor:
        return self.get_buffer(name)[steps].view(-1, 1, 1, 1)


def ddim_transitions(t: int) -> list[tuple[int, int]]:
    """Return the steps and their successors: for t = 5 (4, 3), (3, 2), (2, 1), (1, 0), (0, 0), (0, -1).

    The step from 0 to 0 comes from rounding towards 0; the published scores were computed with it.
    """
    steps = [int(value) for value in np.linspace(-1, t - 1, t + 2)][::-1]
    return list(pairwise(steps))


def schedule() -> dict[str, Tensor]:
    """Return the cosine schedule (s = 0.008, betas of at most 0.999): float64 (1000,) by names of the checkpoint."""
    s = 0.008
    angles = (torch.arange(STEPS + 1, dtype=torch.float64) / STEPS + s) / (1 + s) * (math.pi / 2)
    remaining = angles.cos() ** 2 / angles[0].cos() ** 2
    betas = (1 - remaining[1:] / remaining[:-1]).clamp(0, 0.999)
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
    """Load a published checkpoint (its `model`) or one of ours, strictly; its width is read from the file.

    Returns:
        The diffusion on the CPU, in evaluation mode.

    Raises:
        ModelError: The file cannot be read, or is no such checkpoint.
    """
    # Published scores were computed with the section `model`, not with the averages beside it.
    state = read_state(path, lambda found: WIDTH_KEY in found and "betas" in found, first=("model",))
    diffusion = Diffusion(width_of(state, path))
    load_state(diffusion, state, f"{path} as a diffusion model")
    return diffusion.eval()


def width_of(state: Mapping[str, Tensor], path: Path) -> int:
    """Return the width of the UNet that a state dict belongs to.

    Raises:
        ModelError: It is no state dict of this UNet.
    """
    shape = tuple(state[WIDTH_KEY].shape) if WIDTH_KEY in state else None
    if shape is None or len(shape) != 4 or shape[0] % GROUPS:
        found = f"{WIDTH_KEY} of shape {shape}" if shape else f"no {WIDTH_KEY}"
        raise ModelError(
            f"{path} holds {found}, wanted (width, 3, 7, 7), width a multiple of {GROUPS}: a diffusion model, "
            "as `fiqa-train fit diffiqa` writes it or as published"
        )
    values = sum(tensor.numel() for tensor in state.values())
    if values < LEAST_VALUES * shape[0] ** 2:  # else a small file could ask for a network of any size
        raise ModelError(
            f"{path} has {values:,} values, too few for a diffusion model of width {shape[0]}; fetch it again"
        )
    return shape[0]
