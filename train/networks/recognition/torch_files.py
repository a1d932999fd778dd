"""Face-recognition networks in files of torch that hold code: TorchScript, and programs of `torch.export`.

Loading such a file runs what is in it: load only files of people whom you trust.
"""

import zipfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdk.errors import ModelError
from sdk.files import open_file
from sdk.text import shortened

SUFFIXES = (".pt2", ".pt", ".ts", ".torchscript")
"""Endings of these files."""

_ADVICE = "give a file of torch.jit.save (.pt) or torch.export.save (.pt2)"


def is_torch_file(name: str) -> bool:
    """Tell whether the name of a face-recognition model is that of such a file."""
    return name.lower().endswith(SUFFIXES)


class TorchFile(nn.Module):
    """A network in such a file: normalised RGB faces (N, 3, H, W) -> embeddings (N, D). A copy loads the file again.

    Args:
        path: The file.

    Raises:
        ModelError: The file is missing, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path.resolve()
        with open_file(path, ModelError, _ADVICE):
            pass
        self._batch: int | None = None
        if path.suffix.lower() == ".pt2":
            self.network, self._batch = _exported(path)
        else:
            self.network = _scripted(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._path,)

    def train(self, mode: bool = True) -> "TorchFile":
        """Keep the mode of the file: a program of `torch.export` has only one."""
        self.training = mode
        return self

    def forward(self, faces: Tensor) -> Tensor:
        if self._batch is None:
            return self.network(faces)
        parts = torch.split(faces, self._batch)
        filled = [F.pad(part, (0, 0, 0, 0, 0, 0, 0, self._batch - len(part))) for part in parts]
        return torch.cat([self.network(part) for part in filled])[: len(faces)]


def _exported(path: Path) -> tuple[nn.Module, int | None]:
    """Load a program, and return it with its batch size; None for any."""
    try:
        program = torch.export.load(path)
        faces = next(node for node in program.graph.nodes if node.name == program.graph_signature.user_inputs[0])
        size = faces.meta["val"].shape[0]
        return program.module(), size if isinstance(size, int) else None
    except Exception as error:  # a damaged file can fail in any way
        raise ModelError(f"{path} is no program of torch.export ({shortened(error)}); {_ADVICE}") from error


def _scripted(path: Path) -> nn.Module:
    if not zipfile.is_zipfile(path):
        raise _no_script(path)
    with zipfile.ZipFile(path) as archive:
        if not any("/code/" in name for name in archive.namelist()):
            raise _no_script(path)
    try:
        network: nn.Module = torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except Exception as error:  # a damaged file can fail in any way
        raise ModelError(f"{path} cannot be loaded as TorchScript ({shortened(error)}); {_ADVICE}") from error
    return network


def _no_script(path: Path) -> ModelError:
    return ModelError(
        f"{path} is no TorchScript file. If it holds weights only, give the network's name as the model and the file "
        "as --weights, or write a function that makes the network: module:function"
    )
