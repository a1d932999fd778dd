"""Deterministic, tame weights: every tensor is drawn from a generator seeded with its own key."""

import zlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from train.methods.diffusion import Diffusion
from train.networks import create_network


def draw_tensor(key: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Values of one parameter or buffer, the same on every machine."""
    draw = np.random.default_rng(zlib.crc32(key.encode()))
    if key.endswith("running_var"):
        return draw.uniform(0.5, 1.5, shape).astype(np.float32)
    centre, spread = 0.0, 0.05
    if key.endswith("running_mean"):
        spread = 0.1
    elif len(shape) >= 2:
        spread = np.sqrt(1 / np.prod(shape[1:]))
    elif "prelu" in key and key.endswith("weight"):
        centre = 0.25
    elif key.endswith("bn3.weight"):  # last of a residual branch: small, so that deep networks stay tame
        centre, spread = 0.2, 0.02
    elif key.endswith("weight"):
        centre, spread = 1.0, 0.1
    return (centre + spread * draw.standard_normal(shape)).astype(np.float32)


def tame_network(name: str) -> nn.Module:
    """A network of `train.networks` with these weights, in evaluation mode."""
    network = create_network(name)
    state = network.state_dict()
    drawn = {
        key: torch.from_numpy(draw_tensor(key, tuple(tensor.shape))) if tensor.is_floating_point() else tensor
        for key, tensor in state.items()
    }
    network.load_state_dict(drawn)
    return network.eval()


def golden_image(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The image that recorded outputs were made with: noise in [-1, 1], smoothed along its last two axes."""
    image = np.random.default_rng(zlib.crc32(name.encode())).uniform(-1, 1, shape)
    for axis in (-1, -2):
        image = np.mean([np.roll(image, shift, axis) for shift in range(-3, 4)], axis=0)
    return np.clip(3 * image, -1, 1).astype(np.float32)


def golden_noise(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Normal float32 noise that recorded outputs were made with."""
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    return torch.from_numpy(draw.standard_normal(shape).astype(np.float32))


def tame_diffusion(width: int) -> Diffusion:
    """A diffusion model with these weights and its own schedule, in evaluation mode."""
    diffusion = Diffusion(width)
    drawn = {
        f"model.{key}": torch.from_numpy(draw_tensor(f"model.{key}", tuple(tensor.shape)))
        for key, tensor in diffusion.model.state_dict().items()
    }
    diffusion.load_state_dict(diffusion.state_dict() | drawn)
    return diffusion.eval()
