"""Reading state dicts from `.safetensors` and from files of torch: tensors only, and no more than a file stores."""

import argparse
import logging
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sdk.errors import ModelError
from sdk.files import open_file
from sdk.text import shortened
from train.networks.wrapping import Fits, StateDict, candidates, choose, describe, plain

logger = logging.getLogger(__name__)

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".tar")
"""Endings of torch's own files."""

LARGEST_PICKLE = 64 << 20
"""Most bytes of a pickle, in which an archive of torch describes its tensors."""

LARGEST_VIEW = 64 << 20
"""Most bytes of a tensor that is larger than what the file stores of it, such as an expanded one."""

_ADVICE = "give the path of a .safetensors or .pth file"
_AGAIN = "fetch or save it again"


def read_state(path: Path, fits: Fits | None = None, first: tuple[str, ...] = ()) -> StateDict:
    """Read a state dict. It may be wrapped in sections and prefixes, see `train.networks.wrapping`.

    A file may hold several, for example weights and their running averages. Then averages are preferred, and the log
    names the one that was taken.

    Args:
        path: The file.
        fits: Returns True for a state dict of the wanted network. None takes the most likely state dict.
        first: Sections that are preferred to averages.

    Returns:
        Tensors by key. Where none fits, those of the most likely state dict.

    Raises:
        ModelError: The file is missing, damaged or of another format, holds more than tensors, or holds a teacher and
            a student that both fit.
    """
    return read_checkpoint(path, fits, first)[0]


def read_checkpoint(
    path: Path, fits: Fits | None = None, first: tuple[str, ...] = ()
) -> tuple[StateDict, Mapping[str, Any]]:
    """Read a state dict, as `read_state` does, and what the file says beside it.

    Returns:
        Tensors by key; and the metadata of a `.safetensors` file, or the section `settings` of a training's `state.pt`,
        empty where there is none.
    """
    suffix = path.suffix.lower()
    if not os.path.lexists(path):
        raise ModelError(f"no checkpoint at {path}; {_ADVICE}")
    with open_file(path, ModelError, _ADVICE):
        pass
    if suffix == ".safetensors":
        loaded, notes = _read_safetensors(path)
    elif suffix in SUFFIXES:
        loaded = _read_torch(path)
        notes = loaded.get("settings") if isinstance(loaded, Mapping) else None
    else:
        raise ModelError(f"{path} ends in {path.suffix or 'nothing'!r}, wanted .safetensors or .pth")
    state = _chosen(loaded, path, fits, first) if fits else plain(loaded)
    state = state or plain(loaded)
    if not state:
        raise ModelError(f"{path} holds {type(loaded).__name__}, wanted a state dict of tensors; save state_dict()")
    for key, value in state.items():
        _check_tensor(key, value, path)
    return state, notes if isinstance(notes, Mapping) else {}


def _chosen(loaded: object, path: Path, fits: Fits, first: tuple[str, ...]) -> StateDict:
    best, others = choose(candidates(loaded), fits, first)
    if best is None:
        return {}
    if "student" in best.place or "teacher" in best.place:
        rivals = [other for other in others if "student" in other.place or "teacher" in other.place]
        if rivals:
            raise ModelError(f"{path} holds {describe(best)} and {describe(rivals[0])}; save one of them alone")
    if others:
        logger.info("%s: the weights in %s are taken, not those in %s", path, describe(best), describe(others[0]))
    return best.state


def _read_safetensors(path: Path) -> tuple[object, object]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} is not a safetensors file ({shortened(error)}); {_AGAIN}") from error


def _read_torch(path: Path) -> object:
    sizes = _stored_sizes(path)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # options beside the weights, which hold no code
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        raise ModelError(
            f"{path} is not a checkpoint of tensors only ({shortened(error) or type(error).__name__}); "
            "save its state dict, or convert it to .safetensors"
        ) from error
    if sizes is not None:
        _check_stored(loaded, sizes, path)
    return loaded


def _stored_sizes(path: Path) -> set[int] | None:
    """Return the sizes of the members of an archive; None for torch's older files, which are no archives.

    Raises:
        ModelError: The archive is damaged, or compressed, which torch's never are.
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
            raise ModelError(f"{path} is compressed, wanted a file as torch.save writes it; {_AGAIN}")
        if member.filename.endswith(".pkl") and member.file_size > LARGEST_PICKLE:
            raise ModelError(f"{path} has {member.file_size:,} bytes that are no tensors; save the state dict alone")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise ModelError(f"{path} claims more bytes than it has; {_AGAIN}")
    return {member.file_size for member in members}


def _check_stored(loaded: object, sizes: set[int], path: Path) -> None:
    """Refuse a tensor whose size is not that of a member of the archive, for torch does not compare the two."""
    for candidate in candidates(loaded):
        for key, value in candidate.state.items():
            if value.layout == torch.strided and value.device.type == "cpu":
                size = value.untyped_storage().nbytes()
                if size and size not in sizes:
                    raise ModelError(
                        f"{path} says that {shortened(key)!r} has {size:,} bytes, but stores no such tensor; {_AGAIN}"
                    )


def _check_tensor(key: str, value: Tensor, path: Path) -> None:
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu" or value.is_complex():
        kind = "quantised" if value.is_quantized else f"{value.layout} {value.dtype} on {value.device}"
        raise ModelError(f"{path}: {shortened(key)!r} is {kind}, wanted plain numbers; save it as a dense float tensor")
    size = value.numel() * value.element_size()
    if size > max(LARGEST_VIEW, value.untyped_storage().nbytes()):
        raise ModelError(f"{path}: {shortened(key)!r} has {size:,} bytes, more than the file stores of it; {_AGAIN}")
