"""torch.compile: faster kernels for a minute or more of waiting."""

import logging
import os
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor, nn

from sdk.errors import InputError
from sdk.text import shortened

logger = logging.getLogger(__name__)

COMPILERS = ("gcc", "clang")
"""C compilers that Triton looks for. It needs one for the code that launches its kernels."""

HEADER = Path(sysconfig.get_path("include"), "Python.h")
"""What that code includes. Some systems have it in a package of its own, as python3-dev."""

OLDEST = (7, 0)
"""Compute capability of the oldest GPUs that Triton compiles for."""


def worth_compiling(device: torch.device, work: int, least: int) -> bool:
    """Decide whether to compile the network of a run.

    Args:
        device: Where it runs; only a GPU gains.
        work: Images to label, or steps to train.
        least: As many from which on compiling gains more time than it takes.
    """
    if device.type != "cuda" or work < least:
        return False
    missing = missing_for_triton(device)
    if missing:
        logger.warning("the network is not compiled, which is slower: %s is missing", missing)
    return not missing


def missing_for_triton(device: torch.device) -> str:
    """Return what Triton needs and this machine or GPU lacks, in words; empty where it can be used."""
    missing = [] if find_spec("triton") else ["triton"]
    missing += [] if os.environ.get("CC") or any(map(shutil.which, COMPILERS)) else ["a C compiler"]
    missing += [] if HEADER.exists() else [HEADER.name]
    if torch.cuda.is_available() and torch.cuda.get_device_capability(device) < OLDEST:
        missing.append("a GPU of compute capability {}.{}".format(*OLDEST))
    return " and ".join(missing)


@contextmanager
def compile_errors(instead: str = "label with --no-compile") -> Iterator[None]:
    """Make errors of torch.compile readable, but for those of memory.

    Args:
        instead: How to do without it.

    Raises:
        InputError: A network of the block cannot be compiled.
    """
    try:
        yield
    except RuntimeError as error:
        from torch._dynamo.exc import TorchDynamoException  # loads for a second, so only after an error

        if not isinstance(error, TorchDynamoException) or should_reduce_batch_size(error):
            raise
        raise InputError(f"torch.compile fails on the network: {shortened(error)}; {instead}") from error


class CompiledForAttack(nn.Module):
    """A network that is compiled for the shape of batches that need gradients of their input.

    A batch of that shape without gradients runs the same code, for compiling another one would take as long again.
    Batches of other shapes run as they are.

    Args:
        network: Frozen, and in evaluation mode.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._compiled: Any = torch.compile(network, dynamic=False)
        self._shape: torch.Size | None = None

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            self._shape = x.shape
            return self._compiled(x)
        if x.shape != self._shape:
            return self.network(x)
        with torch.enable_grad():
            return self._compiled(x.detach().requires_grad_()).detach()
