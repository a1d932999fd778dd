"""Checkpoints of networks: strict loading, and writing."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from sdk.errors import ModelError, OutputError
from sdk.files import replace_file
from sdk.text import shortened
from train.networks.state_files import read_state
from train.networks.variants import VARIANTS, create_network, get_variant
from train.networks.wrapping import StateDict


def load_network(name: str, path: Path) -> nn.Module:
    """Make a network and load a checkpoint into it, ours or the one that its authors published.

    Args:
        name: Variant, see `VARIANTS`.
        path: `.safetensors`, or a file of torch with tensors only.

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
    """Load a checkpoint into a network, in place, see `read_state` and `load_state`.

    Raises:
        ModelError: The file cannot be read, or its keys or shapes are not the network's.
    """
    load_state(network, read_state(path, partial(_fits, network.state_dict())), what)


def _fits(wanted: Mapping[str, Tensor], state: StateDict) -> bool:
    """Return whether tensors have the keys and shapes of a network; counters of batch norm may be missing."""
    known = all(key in wanted and value.shape == wanted[key].shape for key, value in state.items())
    return known and all(key in state or key.endswith("num_batches_tracked") for key in wanted)


def load_state(network: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load tensors into a network, in place: all keys and shapes must be the network's.

    Args:
        network: The network.
        state: Tensors by key.
        what: Name for the error, such as "weights.pth as ediffiqa-t".

    Raises:
        ModelError: Keys or shapes differ. Names the first missing, unexpected and misshapen key, and the variant that
            the tensors are of, where there is one.
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
    """Return the name of the variant that has the keys and shapes of a state dict, or None."""
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
    """Write the state dict of a network as `.safetensors`, see `save_state`."""
    save_state(network.state_dict(), path, metadata)


def save_state(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a state dict as `.safetensors`, see `replace_checkpoint`."""
    values = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    replace_checkpoint(path, lambda temporary: save_file(values, temporary, metadata=dict(metadata or {})))


def replace_checkpoint(path: Path, write: Callable[[Path], object]) -> None:
    """Write a checkpoint beside its target, and rename it when it is whole.

    Args:
        path: The target.
        write: Writes the checkpoint to the path that it is given.

    Raises:
        InputError: Nothing can be written there.
        OutputError: The disk is full.
    """
    try:
        replace_file(path, write)
    except (RuntimeError, SafetensorError) as error:  # torch and safetensors raise these on a full disk
        raise OutputError(
            f"{path} cannot be written ({shortened(error) or type(error).__name__}); make room and start again"
        ) from error
