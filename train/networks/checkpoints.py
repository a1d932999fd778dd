"""Checkpoints: strict loading from `.safetensors` and `.pth`, weights only."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sdk.errors import ModelError, OutputError
from sdk.files import replace_file
from train.networks.variants import VARIANTS, create_network, get_variant

StateDict = dict[str, Tensor]


def load_network(name: str, path: Path) -> nn.Module:
    """Make a network and load a checkpoint of ours or of the authors into it, strictly.

    Args:
        name: Variant, see `VARIANTS`.
        path: `.safetensors`, or a `.pth`/`.pt` that holds tensors only.

    Returns:
        The network on the CPU, in evaluation mode.

    Raises:
        ModelError: The file cannot be read, or its keys or shapes are not the network's.
    """
    get_variant(name)
    network = create_network(name)
    load_state(network, read_state(path), f"{path} as {name}")
    return network.eval()


def read_state(path: Path) -> StateDict:
    """Read a state dict; a `module.` prefix and a `model`/`state_dict` wrapper are taken off.

    Raises:
        ModelError: The file is missing, damaged, of another format, or holds more than tensors.
    """
    if not path.is_file():
        raise ModelError(f"no checkpoint at {path}; give the path of a .safetensors or .pth file")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        except SafetensorError as error:
            raise ModelError(f"{path} is not a safetensors file ({error}); fetch it again") from error
    if path.suffix not in (".pth", ".pt", ".ckpt"):
        raise ModelError(f"{path} ends in {path.suffix or 'nothing'!r}, wanted .safetensors or .pth")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        raise ModelError(
            f"{path} is not a checkpoint of tensors only ({_first_line(error)}); "
            "save its state dict, or convert it to .safetensors"
        ) from error
    return _unwrapped(loaded, path)


def _unwrapped(loaded: object, path: Path) -> StateDict:
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ModelError(f"{path} holds {type(loaded).__name__}, wanted a state dict of tensors; save state_dict()")
    return {str(key).removeprefix("module."): value for key, value in loaded.items()}


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
            parts.append(f"{len(unexpected)} unexpected keys, first {unexpected[0]!r}")
        if misshapen:
            key = misshapen[0]
            parts.append(f"{key!r} has shape {tuple(state[key].shape)}, wanted {tuple(wanted[key].shape)}")
        raise ModelError(f"cannot load {what}: {'; '.join(parts)}. {_identified(state)}")
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
    return (str(error).splitlines() or [type(error).__name__])[0]
