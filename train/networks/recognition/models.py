"""Face-recognition models by name, which make labels and compare faces."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sdk.errors import InputError
from sdk.text import shortened
from train.networks import get_variant, load_network
from train.networks.recognition.onnx_network import OnnxNetwork, is_onnx
from train.networks.variants import HALF
from train.references import resolve

EXAMPLE = "such as mobilefacenet128"


class RecognitionModel(nn.Module):
    """A face-recognition network with its normalisation: RGB faces (N, 3, 112, 112) in [0, 1] -> embeddings (N, D).

    Noise that is added to its input is thus on the scale of pixels.

    Args:
        network: Takes normalised faces.
        mean: Subtracted from RGB in [0, 1].
        std: Divides what is left.
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
    name: str,
    weights: Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    gradients: bool = True,
) -> RecognitionModel:
    """Load one of our networks, or a user's own.

    Args:
        name: A variant without a head (`mobilefacenet128`, `iresnet100`, ...); or `module:function`, see
            `train.references`: the function takes nothing and returns a torch module with its weights; or an ONNX file,
            see `OnnxNetwork`.
        weights: Checkpoint of one of our networks.
        mean: Subtracted from RGB in [0, 1]; by default our network's own, 0.5 for a user's.
        std: Divides what is left; by default our network's own, 0.5 for a user's.
        gradients: Refuse an ONNX file, for it gives no gradients. Give False where the model only embeds faces.

    Raises:
        InputError: The name is unknown, the weights are missing, the user's function returns no module, or gradients
            are wanted of an ONNX file.
        ModelError: The checkpoint or the ONNX file does not fit.
    """
    own = ":" in name
    if (own or is_onnx(name)) and weights is not None:
        raise InputError(f"{name} loads its own weights; leave out {weights}")
    if is_onnx(name):
        if gradients:
            raise InputError(f"{name} is an ONNX file, which gives no gradients, wanted a torch network, {EXAMPLE}")
        return RecognitionModel(OnnxNetwork(Path(name)), mean or HALF, std or HALF)
    if own:
        return RecognitionModel(_own_network(name), mean or HALF, std or HALF)
    variant = get_variant(name)
    if variant.hidden is not None:
        raise InputError(f"{name} is a quality network, wanted a face-recognition network, {EXAMPLE}")
    if weights is None:
        raise InputError(f"{name} needs its weights; give a .safetensors or .pth file")
    return RecognitionModel(load_network(name, weights), mean or variant.mean, std or variant.std)


def _own_network(reference: str) -> nn.Module:
    make = resolve(reference)
    if not callable(make):
        raise InputError(f"{reference} is a {type(make).__name__}, wanted a function that returns a torch.nn.Module")
    try:
        network = make()
    except (ImportError, TypeError) as error:
        raise InputError(f"{reference}() failed: {shortened(error)}; wanted a function without arguments") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"{reference} gives a {type(network).__name__}, wanted a torch.nn.Module")
    return network


def fingerprint(network: nn.Module) -> int:
    """Return the CRC-32 of all weights of a network, which tells two apart."""
    total = 0
    for tensor in network.state_dict().values():
        total = zlib.crc32(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy(), total)
    return total


def device_of(name: str) -> torch.device:
    """Return a torch device by name. `auto` is the first GPU, or the CPU where there is none.

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
