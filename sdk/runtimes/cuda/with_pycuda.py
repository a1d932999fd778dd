"""A `Cuda` through pycuda, which JetPack users have."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sdk.errors import DeviceError
from sdk.runtimes.cuda.memory import failed, full, no_cuda, no_such_gpu

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING, for which pycuda has no name."""


class PyCuda:
    """See `sdk.runtimes.cuda.memory.Cuda`. pycuda has no CUDA graphs: `capture` is always refused.

    Args:
        number: Number of the GPU.

    Raises:
        DeviceError: The driver or this GPU is missing, or its memory is full.
    """

    def __init__(self, number: int) -> None:
        self._name, self._undo = f"cuda:{number}", list[Callable[[], object]]()
        self._pycuda: Any = import_module("pycuda.driver")
        try:
            self._pycuda.init()
            count = self._pycuda.Device.count()
        except self._pycuda.Error as error:
            raise no_cuda(self._name, error) from error
        if number >= count:
            raise no_such_gpu(self._name, count)
        device = self._pycuda.Device(number)
        self.architecture = ".".join(map(str, device.compute_capability()))
        context = self._call(device.retain_primary_context)
        self._undo.append(context.detach)
        context.push()
        self._undo.append(context.pop)
        try:
            self._stream = self._call(self._pycuda.Stream, NON_BLOCKING)
        except BaseException:
            self.close()
            raise
        self._undo.append(self._forget_stream)
        self.stream = int(self._stream.handle)

    def allocate(self, size: int) -> int:
        """See `Cuda.allocate`."""
        allocation = self._call(self._pycuda.mem_alloc, size)
        self._undo.append(allocation.free)
        return int(allocation)

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """See `Cuda.pinned`."""
        values: NDArray[Any] = self._call(self._pycuda.pagelocked_empty, shape, np.dtype(dtype))
        owner: Any = values.base
        self._undo.append(owner.free)
        return values

    def upload(self, target: int, source: NDArray[Any]) -> None:
        """See `Cuda.upload`."""
        self._call(self._pycuda.memcpy_htod_async, target, source, self._stream)

    def download(self, target: NDArray[Any], source: int) -> None:
        """See `Cuda.download`."""
        self._call(self._pycuda.memcpy_dtoh_async, target, source, self._stream)

    def synchronize(self) -> None:
        """See `Cuda.synchronize`."""
        self._call(self._stream.synchronize)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Raise an error: pycuda has no CUDA graphs.

        Raises:
            DeviceError: Always.
        """
        raise DeviceError("pycuda has no CUDA graphs; install cuda-bindings for them")

    def close(self) -> None:
        """See `Cuda.close`."""
        while self._undo:
            self._undo.pop()()

    def _forget_stream(self) -> None:
        self._stream = None  # pycuda destroys it, while the context is still there

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except self._pycuda.MemoryError as error:
            raise full(self._name, str(error)) from error
        except self._pycuda.Error as error:
            raise failed(self._name, str(error)) from error
