"""What is asked of NVIDIA's driver itself, without any package: which GPU there is, and pinned memory."""

import ctypes
import sys
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*


def load_driver() -> Any:
    """Load the driver's library.

    Raises:
        OSError: There is none.
    """
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def gpu_architecture(number: int) -> str | None:
    """Return the compute capability of a GPU, for example `8.6`; None if there is no driver or no such GPU."""
    device, values = ctypes.c_int(), (ctypes.c_int(), ctypes.c_int())
    try:
        driver = load_driver()
    except OSError:
        return None
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), number):
        return None
    for value, attribute in zip(values, (_MAJOR, _MINOR), strict=True):
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device):
            return None
    return ".".join(str(value.value) for value in values)


def gpu_memory(number: int) -> int:
    """Return the bytes of a GPU's memory; 0 if they are not known."""
    device, size = ctypes.c_int(), ctypes.c_size_t()
    try:
        driver = load_driver()
    except OSError:
        return 0
    failed = (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(device), number)
        or driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    )
    return 0 if failed else size.value


class PinnedArray:
    """An array in pinned memory: a GPU copies from it without a copy in between, some seven times as fast.

    Made and freed in a thread in which a CUDA context is current, as it is after a run of onnxruntime.

    Args:
        shape: Its shape.
        dtype: Its type.

    Attributes:
        values: The array. Not to be used after `free`.

    Raises:
        OSError: There is no driver, or it gives no such memory.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._driver, self._address = load_driver(), ctypes.c_void_p()
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if error := self._driver.cuMemHostAlloc(ctypes.byref(self._address), ctypes.c_size_t(size), 0):
            raise OSError(f"cuMemHostAlloc failed: CUDA error {error}")
        bytes_ = (ctypes.c_uint8 * size).from_address(int(self._address.value or 0))
        self.values: NDArray[Any] = np.frombuffer(memoryview(bytes_), dtype).reshape(shape)
        self.values[:] = 0

    def free(self) -> None:
        """Free the memory."""
        self._driver.cuMemFreeHost(self._address)
