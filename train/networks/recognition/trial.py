"""A trial of a network that no file describes: what it gives for a few faces is looked at before it is used."""

import logging
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from sdk.alignment import CROP_SIZE
from sdk.errors import ModelError
from sdk.models.card import InputSpec
from sdk.text import count, shortened

logger = logging.getLogger(__name__)

COUNTS = (1, 2)
"""Faces of each call: a network that fixes or drops the number of faces fails at one of them."""


def check_embeddings(model: nn.Module, name: str, spec: InputSpec) -> None:
    """Let a face-recognition model embed noise, on the CPU, or on a GPU where it works only there.

    Args:
        model: RGB faces (N, 3, 112, 112) in [0, 1] -> embeddings. It is put into evaluation mode, on the CPU.
        name: Its name, for errors.
        spec: How its network takes faces, for errors.

    Raises:
        ModelError: It fails, or gives something else than finite embeddings.
    """
    model.eval()
    try:
        outputs = _outputs(model, "cpu")
    except Exception as error:  # a user's code can fail in any way
        outputs = _outputs_on_gpu(model)
        if not outputs:
            logger.debug("%s failed", name, exc_info=True)
            raise ModelError(
                f"{name} fails on RGB faces (N, 3, {spec.height}, {spec.width}): {reason(error)}; give --size where it "
                "takes another size, else correct it (--verbose shows where it failed)"
            ) from error
    for number, output in zip(COUNTS, outputs, strict=True):
        if found := _wrong(output, number):
            raise ModelError(
                f"{name} gives {found} for {count('face', number)} of {spec.height} x {spec.width} pixels; wanted "
                f"embeddings, a tensor of finite floats ({number}, D) with D at least 2: give --size where it takes "
                "another size, or a module:function whose module returns the embeddings alone"
            )


def reason(error: Exception) -> str:
    """Return what an error of a user's code says, on one line."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    if "TorchScript interpreter" in lines[0]:  # what is wrong comes after its traceback
        return shortened(lines[-1])
    return shortened(f"{type(error).__name__}: {lines[0]}")


@torch.no_grad()
def _outputs(model: nn.Module, device: str) -> list[Any]:
    draw = torch.Generator().manual_seed(0)
    faces = torch.rand((max(COUNTS), 3, CROP_SIZE, CROP_SIZE), generator=draw).to(device)
    model.to(device)
    return [model(faces[:number]) for number in COUNTS]


def _outputs_on_gpu(model: nn.Module) -> list[Any]:
    """Return the outputs of what was traced on a GPU and needs one; none where it fails there, too."""
    found: list[Any] = []
    if torch.cuda.is_available():
        with suppress(Exception):  # the error on the CPU says what is wrong
            found = _outputs(model, "cuda")
        model.to("cpu")
    return found


def _wrong(output: Any, number: int) -> str:
    """Return what is wrong with an output; empty where it is right."""
    if not isinstance(output, Tensor):
        return f"a {type(output).__name__}"
    if output.ndim != 2 or len(output) != number or output.shape[1] < 2 or not output.is_floating_point():
        return f"{output.dtype} {tuple(output.shape)}".removeprefix("torch.")
    return "" if torch.isfinite(output).all() else "NaN or infinity"
