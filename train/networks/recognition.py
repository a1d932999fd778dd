"""Face-recognition models: what labels are made with."""

import importlib
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sdk.errors import InputError
from train.networks import get_variant, load_network
from train.networks.variants import HALF


class RecognitionModel(nn.Module):
    """A face-recognition network whose first layer is its normalisation.

    Takes RGB faces (N, 3, 112, 112) in [0, 1], gives embeddings (N, D). So noise added to its input is in pixel units.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, faces: Tensor) -> Tensor:
        return self.network((faces - self.mean) / self.std)


def load_recognition_model(
    name: str, weights: Path | None = None, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> RecognitionModel:
    """Load one of our networks, or a user's own.

    Args:
        name: A variant without a head (`mobilefacenet128`, `iresnet100`, ...), or `module:function`, where the
            function takes nothing and returns a torch module with its weights.
        weights: Checkpoint; needed for our networks, not taken by a user's own.
        mean: Subtracted from RGB in [0, 1]; by default our network's own, 0.5 for a user's.
        std: Divides what is left; the same.

    Raises:
        InputError: The name is unknown, the weights are missing, or the user's function does not give a module.
        ModelError: The checkpoint does not fit.
    """
    if ":" in name:
        if weights is not None:
            raise InputError(f"{name} loads its own weights; leave out {weights}")
        return RecognitionModel(_own_module(name), mean or HALF, std or HALF)
    variant = get_variant(name)
    if variant.hidden is not None:
        raise InputError(f"{name} is a quality network, wanted a face-recognition network, such as mobilefacenet128")
    if weights is None:
        raise InputError(f"{name} needs its weights; give a .safetensors or .pth file")
    return RecognitionModel(load_network(name, weights), mean or variant.mean, std or variant.std)


def _own_module(name: str) -> nn.Module:
    module_name, function_name = name.split(":", 1)
    try:
        network = getattr(importlib.import_module(module_name), function_name)()
    except (ImportError, AttributeError) as error:
        raise InputError(f"cannot make the model {name!r}: {error}; wanted importable_module:function") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"{name} gives a {type(network).__name__}, wanted a torch.nn.Module")
    return network


def fingerprint(network: nn.Module) -> int:
    """A number that tells weights apart: the CRC-32 of all of them."""
    total = 0
    for tensor in network.state_dict().values():
        total = zlib.crc32(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy(), total)
    return total


def device_of(name: str) -> torch.device:
    """`auto` is the first GPU, or the CPU where there is none.

    Raises:
        InputError: The device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} is not there ({str(error).splitlines()[0]}); try cpu or auto") from error
    return device
