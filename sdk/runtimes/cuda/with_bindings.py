"""A `Cuda` through cuda-bindings, NVIDIA's own package (driver API)."""

import ctypes
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sdk.runtimes.base import is_out_of_memory
from sdk.runtimes.cuda.memory import failed, full, no_cuda, no_such_gpu


class BindingsCuda:
    """See `sdk.runtimes.cuda.memory.Cuda`.

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
