"""Which package drives a GPU for engines: cuda-bindings is preferred, pycuda will do."""

import logging
from importlib import import_module

from sdk.errors import DeviceError
from sdk.runtimes.cuda.memory import Cuda

logger = logging.getLogger(__name__)

INSTALL = "pip install cuda-bindings, or pycuda"
"""Advice where neither is installed."""


def open_cuda(number: int) -> Cuda:
    """Open a GPU with cuda-bindings, or with pycuda where that is installed alone.

    Raises:
        DeviceError: Both are missing, or the driver or this GPU is.
    """
    package, failures = cuda_package()
    if package == "cuda-bindings":
        from sdk.runtimes.cuda.with_bindings import BindingsCuda

        return BindingsCuda(number)
    if package == "pycuda":
        from sdk.runtimes.cuda.with_pycuda import PyCuda

        logger.info("the GPU is driven by pycuda, because cuda-bindings is not installed")
        return PyCuda(number)
    raise DeviceError(f"neither cuda-bindings nor pycuda can be loaded ({failures}): {INSTALL}, or use an .onnx file")


def cuda_package() -> tuple[str, str]:
    """Return the package that drives the GPU, `cuda-bindings` or `pycuda`, or nothing; and why others cannot."""
    failures = list[str]()
    for package, module in (("cuda-bindings", "cuda.bindings.driver"), ("pycuda", "pycuda.driver")):
        try:
            import_module(module)
            return package, "; ".join(failures)
        except (ImportError, OSError) as error:
            failures.append(str(error))
    return "", "; ".join(failures)
