"""CUDA: a GPU's memory, copies, stream and graphs, through cuda-bindings or pycuda."""

import ctypes
import logging
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sdk.errors import DeviceError
from sdk.runtimes.base import is_out_of_memory

logger = logging.getLogger(__name__)

INSTALL = "pip install cuda-bindings, or pycuda"
"""Advice where neither is installed."""


class Cuda(Protocol):
    """One GPU: its primary context, one stream, and buffers that live until `close`.

    The primary context is the one that torch and onnxruntime use, too. One thread must make, use and close a `Cuda`,
    because a CUDA context belongs to a thread.

    Attributes:
        architecture: Compute capability of the GPU, for example `8.6`.
        stream: Handle of the stream, for TensorRT.
    """

    architecture: str
    stream: int

    def allocate(self, size: int) -> int:
        """Allocate `size` bytes on the GPU; return their address."""
        ...

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Allocate an array in pinned memory, for `upload` and `download`. It must not be used after `close`."""
        ...

    def upload(self, target: int, source: NDArray[Any]) -> None:
        """Enqueue a copy of a pinned array to an address on the GPU."""
        ...

    def download(self, target: NDArray[Any], source: int) -> None:
        """Enqueue a copy from an address on the GPU to a pinned array."""
        ...

    def synchronize(self) -> None:
        """Wait until everything that was enqueued is done."""
        ...

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what `work` enqueues as a CUDA graph.

        Returns:
            A function that enqueues the same work again, in a single launch.

        Raises:
            DeviceError: CUDA cannot record `work`.
        """
        ...

    def close(self) -> None:
        """Free everything, in reverse order."""
        ...


def open_cuda(number: int) -> Cuda:
    """Open a GPU with cuda-bindings, or with pycuda where that is installed alone.

    Raises:
        DeviceError: Both are missing, or the driver or this GPU is.
    """
    package, failures = cuda_package()
    if package == "cuda-bindings":
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


class BindingsCuda:
    """A `Cuda` through cuda-bindings, NVIDIA's own package (driver API).

    Args:
        number: Number of the GPU.

    Raises:
        DeviceError: The driver or this GPU is missing, or its memory is full.
    """

    def __init__(self, number: int) -> None:
        self._name, self._undo = f"cuda:{number}", list[Callable[[], object]]()
        self._driver: Any = import_module("cuda.bindings.driver")
        try:
            self._call("cuInit", 0)
            count = self._call("cuDeviceGetCount")
        except (RuntimeError, OSError) as error:  # cuda-bindings' error if there is no driver
            raise no_cuda(self._name, error) from error
        if number >= count:
            raise no_such_gpu(self._name, count)
        device = self._call("cuDeviceGet", number)
        kinds = self._driver.CUdevice_attribute
        self.architecture = ".".join(
            str(self._call("cuDeviceGetAttribute", kind, device))
            for kind in (
                kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        context = self._call("cuDevicePrimaryCtxRetain", device)
        self._undo.append(lambda: self._call("cuDevicePrimaryCtxRelease", device))
        try:
            self._call("cuCtxSetCurrent", context)
            self._stream = self._call("cuStreamCreate", int(self._driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
        except BaseException:
            self.close()
            raise
        self._undo.append(lambda: self._call("cuStreamDestroy", self._stream))
        self.stream = int(self._stream)

    def allocate(self, size: int) -> int:
        """See `Cuda.allocate`."""
        address = self._call("cuMemAlloc", size)
        self._undo.append(lambda: self._call("cuMemFree", address))
        return int(address)

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """See `Cuda.pinned`."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = self._call("cuMemHostAlloc", size, 0)
        self._undo.append(lambda: self._call("cuMemFreeHost", address))
        values = np.frombuffer(memoryview((ctypes.c_uint8 * size).from_address(int(address))), dtype)
        return values.reshape(shape)

    def upload(self, target: int, source: NDArray[Any]) -> None:
        """See `Cuda.upload`."""
        self._call("cuMemcpyHtoDAsync", target, source.ctypes.data, source.nbytes, self._stream)

    def download(self, target: NDArray[Any], source: int) -> None:
        """See `Cuda.download`."""
        self._call("cuMemcpyDtoHAsync", target.ctypes.data, source, target.nbytes, self._stream)

    def synchronize(self) -> None:
        """See `Cuda.synchronize`."""
        self._call("cuStreamSynchronize", self._stream)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """See `Cuda.capture`."""
        # Thread-local: CUDA calls of other threads neither enter the graph nor disturb it.
        self._call(
            "cuStreamBeginCapture", self._stream, self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        )
        try:
            work()
        finally:
            graph = self._call("cuStreamEndCapture", self._stream)
        self._undo.append(lambda: self._call("cuGraphDestroy", graph))
        ready = self._call("cuGraphInstantiate", graph, 0)
        self._undo.append(lambda: self._call("cuGraphExecDestroy", ready))
        return lambda: self._call("cuGraphLaunch", ready, self._stream)

    def close(self) -> None:
        """See `Cuda.close`."""
        while self._undo:
            self._undo.pop()()

    def _call(self, name: str, *args: Any) -> Any:
        """Call a function of the driver; return its result, or None if it has none.

        Raises:
            DeviceError: The driver reports an error.
        """
        result, *values = getattr(self._driver, name)(*args)
        if int(result):
            words = getattr(result, "name", str(result))
            if is_out_of_memory(words):
                raise full(self._name, f"{name}: {words}")
            raise failed(self._name, f"{name} failed: {words}")
        return values[0] if values else None


def no_cuda(device: str, error: Exception) -> DeviceError:
    """Return the error to raise where there is no driver."""
    return DeviceError(
        f"{device} was asked for, but there is no CUDA here ({error}); install NVIDIA's driver, or use an .onnx file "
        "on the cpu"
    )


def no_such_gpu(device: str, count: int) -> DeviceError:
    """Return the error to raise where there are only `count` GPUs."""
    return DeviceError(f"{device} was asked for, but there are {count} GPUs, numbered from 0")


def full(device: str, words: str) -> DeviceError:
    """Return the error to raise when the GPU's memory is full."""
    return DeviceError(
        f"{device} has not enough memory ({words}); end other programs on it, or build the engine for smaller batches "
        "(fiqa-export --batch)"
    )


def failed(device: str, words: str) -> DeviceError:
    """Return the error to raise when the driver reports one."""
    return DeviceError(f"{device}: {words}; run `nvidia-smi` to see the state of the GPU")
