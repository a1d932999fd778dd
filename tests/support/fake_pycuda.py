"""A simulated `pycuda.driver`, on top of the simulated driver of `fake_gpu`."""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.support.fake_gpu import Driver

SIGNATURES = {
    "init": 1,
    "Device.__init__": 1,
    "Device.count": 0,
    "Device.compute_capability": 0,
    "Device.retain_primary_context": 0,
    "Context.push": 0,
    "Context.pop": 0,
    "Context.detach": 0,
    "Stream.__init__": 1,
    "Stream.synchronize": 0,
    "mem_alloc": 1,
    "DeviceAllocation.free": 0,
    "pagelocked_empty": 4,
    "PagelockedHostAllocation.free": 0,
    "memcpy_htod_async": 3,
    "memcpy_dtoh_async": 3,
}
"""Functions and methods of pycuda 2026.1 that fiqa calls: the most arguments that each takes, without `self`."""


class Error(Exception):
    """`pycuda.driver.Error`."""


class MemoryError(Error):
    """`pycuda.driver.MemoryError`."""


class Pycuda:
    """The module `pycuda.driver`.

    Args:
        driver: The simulated driver, which holds memory and counts.
    """

    Error, MemoryError = Error, MemoryError

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.contexts: list[Any] = []
        outer = self

        class Device:
            def __init__(self, number: int) -> None:
                self._number = number

            @staticmethod
            def count() -> int:
                return len(driver.gpus)

            def compute_capability(self) -> tuple[int, int]:
                major, minor = driver.gpus[self._number].split(".")
                return int(major), int(minor)

            def retain_primary_context(self) -> "Context":
                driver.cuDevicePrimaryCtxRetain(self._number)
                return Context()

        class Context:
            def push(self) -> None:
                outer.contexts.append(self)

            @staticmethod
            def pop() -> None:
                outer.contexts.pop()

            def detach(self) -> None:
                driver.cuDevicePrimaryCtxRelease(0)

        class Stream:
            def __init__(self, flags: int = 0) -> None:
                assert flags == 1
                assert outer.contexts, "a stream needs a context"
                self.handle = driver.cuStreamCreate(flags)[1]

            def __del__(self) -> None:
                if self.handle in driver.held:
                    assert outer.contexts, "a stream is destroyed while its context is there"
                    driver.cuStreamDestroy(self.handle)

            def synchronize(self) -> None:
                driver.cuStreamSynchronize(self.handle)

        class DeviceAllocation:
            def __init__(self, address: int) -> None:
                self._address = address

            def __int__(self) -> int:
                return self._address

            def free(self) -> None:
                driver.cuMemFree(self._address)

        class PagelockedHostAllocation:
            def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
                size = int(np.prod(shape)) * dtype.itemsize
                self._address = driver.cuMemHostAlloc(size, 0)[1]
                self.__array_interface__ = {
                    "shape": tuple(shape), "typestr": dtype.str, "data": (self._address, False), "version": 3,
                }  # fmt: skip

            def free(self) -> None:
                driver.cuMemFreeHost(self._address)

        self.Device, self.Context, self.Stream = Device, Context, Stream
        self.DeviceAllocation, self.PagelockedHostAllocation = DeviceAllocation, PagelockedHostAllocation

    def init(self, flags: int = 0) -> None:
        """Start the driver."""
        if not self.driver.gpus:
            raise Error("cuInit failed: no CUDA-capable device is detected")

    def mem_alloc(self, size: int) -> Any:
        """Allocate memory on the GPU."""
        result, address = self.driver.cuMemAlloc(size)
        if int(result):
            raise MemoryError("cuMemAlloc failed: out of memory")
        return self.DeviceAllocation(address)

    def pagelocked_empty(self, shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
        """Allocate an array in pinned memory; its base frees it."""
        return np.asarray(self.PagelockedHostAllocation(shape, np.dtype(dtype)))

    def memcpy_htod_async(self, dest: int, src: Any, stream: Any = None) -> None:
        """Copy to the GPU."""
        self.driver.cuMemcpyHtoDAsync(dest, src.ctypes.data, src.nbytes, stream.handle)

    def memcpy_dtoh_async(self, dest: Any, src: int, stream: Any = None) -> None:
        """Copy from the GPU."""
        self.driver.cuMemcpyDtoHAsync(dest.ctypes.data, src, dest.nbytes, stream.handle)


def install(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> Pycuda:
    """Replace pycuda by this, and hide cuda-bindings."""
    module = Pycuda(driver)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "pycuda", SimpleNamespace(driver=module))  # type: ignore[misc]
    monkeypatch.setitem(sys.modules, "pycuda.driver", module)  # type: ignore[misc]
    return module
