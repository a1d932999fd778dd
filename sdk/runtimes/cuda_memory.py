"""A GPU's memory, copies, stream and graphs: all that fiqa calls of CUDA, through NVIDIA's cuda-python (the driver)."""

import ctypes
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sdk.errors import DeviceError
from sdk.runtimes.base import is_out_of_memory


class Cuda:
    """One GPU: its primary context, one stream, and buffers that stay until `close`.

    To be made, used and closed by one thread: a CUDA context is current to a thread.

    Args:
        number: Number of the GPU.

    Attributes:
        architecture: Its compute capability, such as `8.6`.
        stream: Handle of the stream, as TensorRT takes it.

    Raises:
        DeviceError: cuda-python, the driver or this GPU is not there.
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
        except (RuntimeError, OSError) as error:  # cuda-python's own error where it finds no driver
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
        """Address of so many bytes on the GPU."""
        address = self._call("cuMemAlloc", size)
        self._undo.append(lambda: self._call("cuMemFree", address))
        return int(address)

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array in main memory that the GPU copies from and to by itself. Not to be used after `close`."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = self._call("cuMemHostAlloc", size, 0)
        self._undo.append(lambda: self._call("cuMemFreeHost", address))
        values = np.frombuffer(memoryview((ctypes.c_uint8 * size).from_address(int(address))), dtype)
        return values.reshape(shape)

    def upload(self, target: int, source: NDArray[Any]) -> None:
        """Enqueue a copy to the GPU, from an array of `pinned`."""
        self._call("cuMemcpyHtoDAsync", target, source.ctypes.data, source.nbytes, self._stream)

    def download(self, target: NDArray[Any], source: int) -> None:
        """Enqueue a copy from the GPU, to an array of `pinned`."""
        self._call("cuMemcpyDtoHAsync", target.ctypes.data, source, target.nbytes, self._stream)

    def synchronize(self) -> None:
        """Wait for all that was enqueued."""
        self._call("cuStreamSynchronize", self._stream)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what `work` enqueues as a CUDA graph.

        Returns:
            Enqueues the same work once more, at a single launch.

        Raises:
            DeviceError: Something in `work` cannot be recorded.
        """
        # Calls of other threads are none of this stream's business.
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
        """Give everything back, the last first."""
        while self._undo:
            self._undo.pop()()

    def _call(self, name: str, *args: Any) -> Any:
        """Call the driver; its only result, or None.

        Raises:
            DeviceError: It reports an error.
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
