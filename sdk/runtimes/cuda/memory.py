"""CUDA: a GPU's memory, copies, stream and graphs, for engines: what cuda-bindings and pycuda have in common."""

from collections.abc import Callable
from typing import Any, Protocol

from numpy.typing import DTypeLike, NDArray

from sdk.errors import DeviceError


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
