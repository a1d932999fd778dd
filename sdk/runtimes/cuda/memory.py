"""CUDA: a GPU's memory, copies, stream and graphs, through NVIDIA's cuda-python (driver API)."""

import ctypes
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sdk.errors import DeviceError
from sdk.runtimes.base import is_out_of_memory


class Cuda:
    """One GPU: its primary context, one stream, and buffers that live until `close`.

    One thread must make, use and close it, because a CUDA context belongs to a thread.

    Args:
        number: Number of the GPU.

    Attributes:
        architecture: Compute capability of the GPU, for example `8.6`.
        stream: Handle of the stream, for TensorRT.

    Raises:
        DeviceError: cuda-python, the driver or this GPU is missing.
    """

    def __init__(self, number: int) -> None:
        self._name, self._undo = f"cuda:{number}", list[Callable[[], object]]()
        try:
            self._driver: Any = import_module("cuda.bindings.driver")
        except ImportError as error:
            raise DeviceError(
                f"cuda-python is not installed ({error}): pip install cuda-bindings, or use an .onnx file on the cpu"
            ) from error
        try:
            self._call("cuInit", 0)
            count = self._call("cuDeviceGetCount")
        except (RuntimeError, OSError) as error:  # cuda-python's error if there is no driver
            raise DeviceError(
                f"{self._name} was asked for, but there is no CUDA here ({error}); install NVIDIA's driver, or use an "
                ".onnx file on the cpu"
            ) from error
        if number >= count:
            raise DeviceError(f"{self._name} was asked for, but there are {count} GPUs, numbered from 0")
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
        """Allocate `size` bytes on the GPU; return their address."""
        address = self._call("cuMemAlloc", size)
        self._undo.append(lambda: self._call("cuMemFree", address))
        return int(address)

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Allocate an array in pinned memory, for `upload` and `download`. It must not be used after `close`."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = self._call("cuMemHostAlloc", size, 0)
        self._undo.append(lambda: self._call("cuMemFreeHost", address))
        values = np.frombuffer(memoryview((ctypes.c_uint8 * size).from_address(int(address))), dtype)
        return values.reshape(shape)

    def upload(self, target: int, source: NDArray[Any]) -> None:
        """Enqueue a copy of a pinned array to an address on the GPU."""
        self._call("cuMemcpyHtoDAsync", target, source.ctypes.data, source.nbytes, self._stream)

    def download(self, target: NDArray[Any], source: int) -> None:
        """Enqueue a copy from an address on the GPU to a pinned array."""
        self._call("cuMemcpyDtoHAsync", target.ctypes.data, source, target.nbytes, self._stream)

    def synchronize(self) -> None:
        """Wait until everything that was enqueued is done."""
        self._call("cuStreamSynchronize", self._stream)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what `work` enqueues as a CUDA graph.

        Returns:
            A function that enqueues the same work again, in a single launch.

        Raises:
            DeviceError: CUDA cannot record `work`.
        """
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
        """Free everything, in reverse order."""
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
                raise DeviceError(
                    f"{self._name} has not enough memory ({name}: {words}); end other programs on it, or build the "
                    "engine for smaller batches (fiqa-export --batch)"
                )
            raise DeviceError(f"{self._name}: {name} failed: {words}; run `nvidia-smi` to see the state of the GPU")
        return values[0] if values else None
