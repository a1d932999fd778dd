"""The libraries of CUDA and cuDNN that onnxruntime's provider loads."""

import contextlib
import ctypes
import io
import logging
import sys

from sdk.runtimes.providers import load_onnxruntime

logger = logging.getLogger(__name__)

CUDNN = 9
"""Major version of cuDNN that onnxruntime is built for."""


def preload_libraries() -> None:
    """Load the CUDA and cuDNN of pip's packages: the system's loader does not find them."""
    onnxruntime = load_onnxruntime()
    if hasattr(onnxruntime, "preload_dlls"):  # from version 1.21 on
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            onnxruntime.preload_dlls()
        logger.info("CUDA libraries: %s", said.getvalue().strip() or "found")


def cuda_version() -> str:
    """Return the version of CUDA that onnxruntime is built for, such as `13.0`; empty for a build without CUDA."""
    return str(getattr(load_onnxruntime(), "cuda_version", "") or "")


def missing_libraries() -> list[str]:
    """Return the libraries that onnxruntime's CUDA provider needs and this machine lacks."""
    preload_libraries()
    major = cuda_version().partition(".")[0]
    wanted = {"cudart": major, "cublas": major, "cudnn": str(CUDNN)}
    form = "{}64_{}.dll" if sys.platform == "win32" else "lib{}.so.{}"
    return [name for library, version in wanted.items() if not _loads(name := form.format(library, version))]


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
