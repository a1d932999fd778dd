"""Checkpoints: strict loading from `.safetensors` and from torch's files, weights only, however they are wrapped."""

import argparse
import logging
import os
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sdk.errors import ModelError, OutputError
from sdk.files import open_file, replace_file
from sdk.text import shortened
from train.networks.variants import VARIANTS, create_network, get_variant
from train.networks.wrapping import Fits, StateDict, candidates, choose, describe, plain

logger = logging.getLogger(__name__)

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".tar")
"""Of torch's own files."""

LARGEST_PICKLE = 64 << 20
"""Bytes of what an archive of torch says of its tensors."""

LARGEST_VIEW = 64 << 20
"""Bytes of a tensor that repeats what is stored of it."""

_ADVICE = "give the path of a .safetensors or .pth file"
_AGAIN = "fetch or save it again"


def load_network(name: str, path: Path) -> nn.Module:
    """Make a network and load a checkpoint of ours or of the authors into it, strictly.

    Args:
        name: Variant, see `VARIANTS`.
        path: `.safetensors`, or a file of torch that holds tensors only.

    Returns:
        The network on the CPU, in evaluation mode.

    Raises:
        ModelError: The file cannot be read, or its keys or shapes are not the network's.
    """
    get_variant(name)
    network = create_network(name)
    load_checkpoint(network, path, f"{path} as {name}")
    return network.eval()


def load_checkpoint(network: nn.Module, path: Path, what: str) -> None:
    """Load a checkpoint into a network, in place and strictly, see `read_state` and `load_state`.

    Raises:
        ModelError: The file cannot be read, or its keys or shapes are not the network's.
    """
    load_state(network, read_state(path, partial(_fits, network.state_dict())), what)


def read_state(path: Path, fits: Fits | None = None, first: tuple[str, ...] = ()) -> StateDict:
    """Read a state dict, out of the sections and prefixes that it is wrapped in, see `train.networks.wrapping`.

    Where several are in the file, averages win, and the log says which was taken.

    Args:
        path: The file.
        fits: Whether a state dict is the one that is wanted; None for what is most likely one.
        first: Sections that win over averages.

    Returns:
        Tensors by key; where none fits, what is most likely a state dict.

    Raises:
        ModelError: The file is missing, damaged, of another format, holds more than tensors, or two fit and neither
            is preferred.
    """
    suffix = path.suffix.lower()
    if not os.path.lexists(path):
        raise ModelError(f"no checkpoint at {path}; {_ADVICE}")
    with open_file(path, ModelError, _ADVICE):
        pass
    if suffix == ".safetensors":
        loaded: object = _read_safetensors(path)
    elif suffix in SUFFIXES:
        loaded = _read_torch(path)
    else:
        raise ModelError(f"{path} ends in {path.suffix or 'nothing'!r}, wanted .safetensors or .pth")
    state = _chosen(loaded, path, fits, first) if fits else plain(loaded)
    state = state or plain(loaded)
    if not state:
        raise ModelError(f"{path} holds {type(loaded).__name__}, wanted a state dict of tensors; save state_dict()")
    for key, value in state.items():
        _check_tensor(key, value, path)
    return state


def _chosen(loaded: object, path: Path, fits: Fits, first: tuple[str, ...]) -> StateDict:
    best, others = choose(candidates(loaded), fits, first)
    if best is None:
        return {}
    if "student" in best.place or "teacher" in best.place:
        rivals = [other for other in others if "student" in other.place or "teacher" in other.place]
        if rivals:
            raise ModelError(f"{path} holds {describe(best)} and {describe(rivals[0])}; save the one that is meant")
    if others:
        logger.info("%s: the weights in %s are taken, not those in %s", path, describe(best), describe(others[0]))
    return best.state


def _fits(wanted: Mapping[str, Tensor], state: StateDict) -> bool:
    """Whether tensors have the keys and shapes of a network; counters of batch norm may be missing."""
    known = all(key in wanted and value.shape == wanted[key].shape for key, value in state.items())
    return known and all(key in state or key.endswith("num_batches_tracked") for key in wanted)


def _read_safetensors(path: Path) -> StateDict:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} is not a safetensors file ({shortened(error)}); {_AGAIN}") from error


def _read_torch(path: Path) -> object:
    sizes = _stored_sizes(path)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # options beside the weights, which hold no code
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        raise ModelError(
            f"{path} is not a checkpoint of tensors only ({_first_line(error)}); "
            "save its state dict, or convert it to .safetensors"
        ) from error
    if sizes is not None:
        _check_stored(loaded, sizes, path)
    return loaded


def _stored_sizes(path: Path) -> set[int] | None:
    """Sizes of what an archive stores; None for torch's older files, which are no archives.

    Raises:
        ModelError: The archive is damaged or packed: torch stores tensors as they are.
    """
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ModelError(f"{path} is a damaged archive ({shortened(error)}); {_AGAIN}") from error
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED:
            raise ModelError(f"{path} is packed, wanted a file of torch.save, which is not; {_AGAIN}")
        if member.filename.endswith(".pkl") and member.file_size > LARGEST_PICKLE:
            raise ModelError(f"{path} has {member.file_size:,} bytes that are no tensors; save the state dict alone")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise ModelError(f"{path} claims more bytes than it has; {_AGAIN}")
    return {member.file_size for member in members}


def _check_stored(loaded: object, sizes: set[int], path: Path) -> None:
    """Refuse tensors of other sizes than what is stored: torch does not compare them."""
    for candidate in candidates(loaded):
        for key, value in candidate.state.items():
            if value.layout == torch.strided and value.device.type == "cpu":
                size = value.untyped_storage().nbytes()
                if size and size not in sizes:
                    raise ModelError(
                        f"{path} says that {shortened(key)!r} has {size:,} bytes, which it has not; {_AGAIN}"
                    )


def _check_tensor(key: str, value: Tensor, path: Path) -> None:
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu" or value.is_complex():
        kind = "quantised" if value.is_quantized else f"{value.layout} {value.dtype} on {value.device}"
        raise ModelError(f"{path}: {shortened(key)!r} is {kind}, wanted plain numbers; save it as a dense float tensor")
    size = value.numel() * value.element_size()
    if size > max(LARGEST_VIEW, value.untyped_storage().nbytes()):
        raise ModelError(f"{path}: {shortened(key)!r} has {size:,} bytes, more than the file stores of it; {_AGAIN}")


def load_state(network: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """`load_state_dict(strict=True)` with an error that says what the file is.

    Args:
        network: Loaded in place.
        state: Tensors by key.
        what: Named in the error, for example "weights.pth as ediffiqa-t".

    Raises:
        ModelError: Keys or shapes differ; names the first missing, unexpected and misshapen key, and the variant
            that the file does fit, if one does.
    """
    wanted = network.state_dict()
    # Checkpoints written before torch 0.4.1 lack the counters of batch norm, which evaluation never reads.
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in wanted]
    misshapen = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or unexpected or misshapen:
        parts = []
        if missing:
            parts.append(f"{len(missing)} missing keys, first {missing[0]!r}")
        if unexpected:
            parts.append(f"{len(unexpected)} unexpected keys, first {shortened(unexpected[0])!r}")
        if misshapen:
            key = misshapen[0]
            parts.append(f"{key!r} has shape {tuple(state[key].shape)}, wanted {tuple(wanted[key].shape)}")
        raise ModelError(f"cannot load {what}: {'; '.join(parts)}. {_identified(state)}")
    whole = next((key for key in state if wanted[key].is_floating_point() and not state[key].is_floating_point()), None)
    if whole is not None:
        raise ModelError(f"cannot load {what}: {whole!r} is of {state[whole].dtype}, wanted floating-point numbers")
    network.load_state_dict({**wanted, **state})


def identify(state: Mapping[str, Tensor]) -> str | None:
    """Name of the variant whose keys and shapes a state dict has, or None."""
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    for name in VARIANTS:
        with torch.device("meta"):
            wanted = {key: tuple(value.shape) for key, value in create_network(name).state_dict().items()}
        if wanted == shapes:
            return name
    return None


def _identified(state: Mapping[str, Tensor]) -> str:
    name = identify(state)
    if name:
        return f"The file is a checkpoint of {name}: use that name"
    return "The file is a checkpoint of no network known here"


def save_network(network: nn.Module, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a state dict as `.safetensors`, see `replace_checkpoint`."""
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    replace_checkpoint(path, lambda temporary: save_file(state, temporary, metadata=dict(metadata or {})))


def replace_checkpoint(path: Path, write: Callable[[Path], object]) -> None:
    """Have a checkpoint written beside its target, and put in the target's place when it is whole.

    Raises:
        InputError: The place is wrong.
        OutputError: The disk is full.
    """
    try:
        replace_file(path, write)
    except (RuntimeError, SafetensorError) as error:  # what torch and safetensors make of a disk that is full
        raise OutputError(f"{path} cannot be written ({_first_line(error)}); make room and start again") from error


def _first_line(error: BaseException) -> str:
    return shortened(error) or type(error).__name__
