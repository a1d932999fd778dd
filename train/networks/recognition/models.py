"""Face-recognition models by name, which make labels and compare faces."""

import logging
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from sdk.alignment import CROP_SIZE
from sdk.calibrating.embedding_session import read_recognition
from sdk.errors import InputError
from sdk.models.card import InputSpec
from sdk.models.catalog import catalog
from sdk.models.store import fetch_model
from train.networks import QualityNetwork, get_variant, load_network
from train.networks.recognition.face_input import RGB_FACES, FaceInput, as_taken
from train.networks.recognition.onnx_network import OnnxNetwork
from train.networks.recognition.onnx_torch import torch_network
from train.networks.recognition.torch_files import SUFFIXES, TorchFile, is_torch_file
from train.networks.recognition.trial import check_embeddings, reason
from train.networks.variants import VARIANTS
from train.references import resolve

logger = logging.getLogger(__name__)

EXAMPLE = "such as mobilefacenet128"


class RecognitionModel(nn.Module):
    """A face-recognition network with its input: RGB faces (N, 3, 112, 112) in [0, 1] -> embeddings (N, D).

    Noise that is added to its input is thus on the scale of pixels.

    Args:
        network: Takes faces as `spec` says.
        mean: Subtracted from RGB in [0, 1].
        std: Divides what is left.
        spec: Size, colour and layout that the network takes; its mean and deviation are not used.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, mean: Sequence[float], std: Sequence[float], spec: InputSpec = RGB_FACES
    ) -> None:
        super().__init__()
        self.network = network
        self._spec = spec
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        form = (spec.height, spec.width, spec.colour == "BGR")
        if form != (CROP_SIZE, CROP_SIZE, False):  # a part of the fingerprint
            self.register_buffer("form", torch.tensor(form))

    def forward(self, faces: Tensor) -> Tensor:
        return self.network(self.normalised(faces))

    def normalised(self, faces: Tensor) -> Tensor:
        """Return faces as the network takes them."""
        return as_taken((faces - self.mean) / self.std, self._spec)


def load_recognition_model(
    name: str,
    weights: Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    gradients: bool = True,
    colour: str | None = None,
    size: int | None = None,
) -> RecognitionModel:
    """Load a face-recognition model of any kind.

    Args:
        name: One of these:

            - a variant (`mobilefacenet128`, `iresnet100`, ...; of a quality network such as `ediffiqa-t` its backbone),
              with `weights`; without them the file of the catalogue's entry of that name is fetched;
            - another name in the catalogue with the task `recognition`, such as `w600k_r50` or `cosface_r100`;
            - an ONNX file, see `sdk.calibrating.embedding_session.read_recognition`;
            - a file of `torch.jit.save` or `torch.export.save`, see `train.networks.recognition.torch_files`;
            - `module:function`, see `train.references`: the function takes nothing and returns a torch module with its
              weights.
        weights: Checkpoint of one of our networks.
        mean: Subtracted from RGB in [0, 1]; by default that of the model's card or of our network, 0.5 for others.
        std: Divides what is left; the default is as that of the mean.
        gradients: An ONNX file becomes a torch network, see `train.networks.recognition.onnx_torch`. Give False where
            the model only embeds faces: then onnxruntime runs the file.
        colour: Order of the channels; RGB where neither this nor a card says otherwise.
        size: Side of the faces that the network takes; 112 where neither this nor the file says otherwise.

    Raises:
        InputError: The name is unknown, the weights are missing, or the user's function fails or returns no module.
        ModelError: A file cannot be fetched or does not fit, or has an operator that has no gradient here; a file of
            torch or a user's module fails on a face, or gives no embedding, see `check_embeddings`.
    """
    given = FaceInput(mean, std, colour, size)
    own = ":" in name
    if (own or is_file(name)) and weights is not None:
        raise InputError(f"{name} loads its own weights; leave out {weights}")
    if own:
        return _foreign_model(_own_network(name), name, given)
    if is_torch_file(name):
        return _foreign_model(TorchFile(Path(name)), name, given)
    if name in recognition_names() and (variant := catalog()[name].card.variant):
        return _our_model(variant, weights or fetch_model(name), given)
    if name in VARIANTS:
        return _our_model(name, weights, given)
    if not is_onnx(name) and name not in catalog():
        names = [*(known for known, variant in VARIANTS.items() if not variant.early), *recognition_names()]
        raise InputError(
            f"unknown model {name!r}, wanted one of: {', '.join(dict.fromkeys(names))}, an ONNX file, a file of torch "
            f"({', '.join(SUFFIXES)}), or module:function"
        )
    file = read_recognition(name)
    network = OnnxNetwork(file)
    if size is not None and any(side not in (None, size) for side in network.sides):
        sides = " x ".join(str(side or "any") for side in network.sides)
        raise InputError(f"size is {size}, but {file.path} takes faces of {sides} pixels; leave out --size")
    spec = given.applied(network.input)
    network.input = replace(network.input, height=spec.height, width=spec.width)
    model = _model(network, spec)
    if None in network.sides:  # the file does not say whether this size will do
        check_embeddings(model, str(file.path), spec)
    if not gradients:
        return model
    if spec.dtype == "uint8":  # the same numbers, not rounded, for rounding has no gradient
        spec = replace(spec, dtype="float32", mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))
    return _model(torch_network(file, network), spec)


def _model(network: nn.Module, spec: InputSpec) -> RecognitionModel:
    if spec.dtype == "uint8":  # the network normalises pixels itself
        return RecognitionModel(network, (0, 0, 0), (1, 1, 1), spec)
    return RecognitionModel(network, spec.mean, spec.std, spec)


def _foreign_model(network: nn.Module, name: str, given: FaceInput) -> RecognitionModel:
    """Return a network that no file describes, after a trial."""
    spec = given.applied(RGB_FACES)
    model = _model(network, spec)
    check_embeddings(model, name, spec)
    return model


def _our_model(name: str, weights: Path | None, given: FaceInput) -> RecognitionModel:
    variant = get_variant(name)
    if variant.early:
        raise InputError(f"{name} is a quality network that gives no embeddings, wanted another, {EXAMPLE}")
    if weights is None:
        raise InputError(f"{name} needs its weights; give a .safetensors or .pth file")
    spec = given.applied(replace(RGB_FACES, mean=variant.mean, std=variant.std))
    network = load_network(name, weights)
    return _model(network.base_model if isinstance(network, QualityNetwork) else network, spec)


def recognition_names() -> list[str]:
    """Return the names of the face-recognition models in the catalogue."""
    return [name for name, entry in catalog().items() if entry.card.task == "recognition"]


def is_file(name: str) -> bool:
    """Tell whether the name of a face-recognition model is that of a file, which has its weights."""
    return is_onnx(name) or is_torch_file(name)


def is_onnx(name: str) -> bool:
    """Tell whether the name of a face-recognition model is that of an ONNX file."""
    return name.lower().endswith(".onnx")


def _own_network(reference: str) -> nn.Module:
    make = resolve(reference)
    if not callable(make):
        raise InputError(f"{reference} is a {type(make).__name__}, wanted a function that returns a torch.nn.Module")
    try:
        network = make()
    except Exception as error:  # a user's code can fail in any way
        logger.debug("%s failed", reference, exc_info=True)
        raise InputError(
            f"{reference}() failed: {reason(error)}; correct it: wanted a function without arguments that returns a "
            "torch.nn.Module (--verbose shows where it failed)"
        ) from error
    if not isinstance(network, nn.Module):
        raise InputError(f"{reference} gives a {type(network).__name__}, wanted a torch.nn.Module")
    return network


def fingerprint(network: nn.Module) -> int:
    """Return the CRC-32 of all weights of a network, which tells two apart."""
    total = 0
    for tensor in network.state_dict().values():
        total = zlib.crc32(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy(), total)
    return total


def placed(model: RecognitionModel, device: str) -> RecognitionModel:
    """Put a model on a device, ready to embed."""
    return model.eval().to(device)


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
