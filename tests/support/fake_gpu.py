"""A simulated GPU: CUDA's driver and TensorRT, as far as fiqa calls them. "GPU memory" is main memory.

Order and lifetimes are real: copies and networks read and write the memory at the given addresses, a captured graph
works when it is launched, and freed memory is gone. Results of real kernels, their speed, and errors of real drivers
can only be tested on a GPU (docs/hardware.md).
"""

import ctypes
import enum
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sdk.runtimes import tensorrt_library
from sdk.runtimes.tensorrt_library import LIBRARIES
from tests.support.tiny_models import tiny_card

VERSION = "10.13.0"

CUresult = enum.IntEnum("CUresult", {"CUDA_SUCCESS": 0, "CUDA_ERROR_OUT_OF_MEMORY": 2, "CUDA_ERROR_UNKNOWN": 999})
OK = CUresult(0)


class Driver:
    """`cuda.bindings.driver`.

    Args:
        gpus: Compute capabilities of the GPUs.
        memory: Bytes on each.
    """

    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=75, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=76
    )
    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=1)
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)

    def __init__(self, gpus: tuple[str, ...] = ("8.6",), memory: int = 1 << 30) -> None:
        self.gpus, self.free = gpus, memory
        self.held: dict[int, Any] = {}
        self.capturing: list[Callable[[], None]] | None = None
        self.refuse_graphs = False
        self.launches = 0

    def do(self, work: Callable[[], None]) -> None:
        """Run work at once, or add it to the graph that is being captured."""
        if self.capturing is None:
            work()
        else:
            self.capturing.append(work)

    def _hold(self, thing: Any) -> int:
        address = ctypes.addressof(thing) if isinstance(thing, ctypes.Array) else id(thing)
        self.held[address] = thing
        return address

    def _drop(self, address: int) -> tuple[CUresult]:
        self.held.pop(address)
        return (OK,)

    def cuInit(self, flags: int) -> tuple[CUresult]:  # noqa: N802
        if not self.gpus:
            raise RuntimeError("no driver")
        return (OK,)

    def cuDeviceGetCount(self) -> tuple[CUresult, int]:  # noqa: N802
        return OK, len(self.gpus)

    def cuDeviceGet(self, ordinal: int) -> tuple[CUresult, int]:  # noqa: N802
        return OK, ordinal

    def cuDeviceGetAttribute(self, attribute: int, device: int) -> tuple[CUresult, int]:  # noqa: N802
        return OK, int(self.gpus[device].split(".")[attribute - 75])

    def cuDevicePrimaryCtxRetain(self, device: int) -> tuple[CUresult, int]:  # noqa: N802
        self.held[-1] = "context"
        return OK, 77

    def cuDevicePrimaryCtxRelease(self, device: int) -> tuple[CUresult]:  # noqa: N802
        return self._drop(-1)

    def cuCtxSetCurrent(self, context: int) -> tuple[CUresult]:  # noqa: N802
        return (OK,)

    def cuStreamCreate(self, flags: int) -> tuple[CUresult, int]:  # noqa: N802
        return OK, self._hold(SimpleNamespace())

    def cuStreamDestroy(self, stream: int) -> tuple[CUresult]:  # noqa: N802
        return self._drop(stream)

    def cuStreamSynchronize(self, stream: int) -> tuple[CUresult]:  # noqa: N802
        return (OK,)

    def cuMemAlloc(self, size: int) -> tuple[Any, ...]:  # noqa: N802
        if size > self.free:
            return CUresult["CUDA_ERROR_OUT_OF_MEMORY"], None
        self.free -= size
        return OK, self._hold((ctypes.c_uint8 * size)())

    def cuMemFree(self, address: int) -> tuple[CUresult]:  # noqa: N802
        self.free += len(self.held[address])
        return self._drop(address)

    def cuMemHostAlloc(self, size: int, flags: int) -> tuple[CUresult, int]:  # noqa: N802
        return OK, self._hold((ctypes.c_uint8 * size)())

    def cuMemFreeHost(self, address: int) -> tuple[CUresult]:  # noqa: N802
        return self._drop(address)

    def cuMemcpyHtoDAsync(self, target: int, source: int, size: int, stream: int) -> tuple[CUresult]:  # noqa: N802
        assert size <= len(self.held[target])
        self.do(lambda: ctypes.memmove(target, source, size))
        return (OK,)

    def cuMemcpyDtoHAsync(self, target: int, source: int, size: int, stream: int) -> tuple[CUresult]:  # noqa: N802
        assert size <= len(self.held[source])
        self.do(lambda: ctypes.memmove(target, source, size))
        return (OK,)

    def cuStreamBeginCapture(self, stream: int, mode: int) -> tuple[CUresult]:  # noqa: N802
        self.capturing = []
        return (OK,)

    def cuStreamEndCapture(self, stream: int) -> tuple[Any, ...]:  # noqa: N802
        graph, self.capturing = self.capturing, None
        return (CUresult["CUDA_ERROR_UNKNOWN"], None) if self.refuse_graphs else (OK, self._hold(graph))

    def cuGraphInstantiate(self, graph: int, flags: int) -> tuple[CUresult, int]:  # noqa: N802
        return OK, self._hold(list(self.held[graph]))

    def cuGraphLaunch(self, graph: int, stream: int) -> tuple[CUresult]:  # noqa: N802
        self.launches += 1
        for work in self.held[graph]:
            work()
        return (OK,)

    def cuGraphDestroy(self, graph: int) -> tuple[CUresult]:  # noqa: N802
        return self._drop(graph)

    def cuGraphExecDestroy(self, graph: int) -> tuple[CUresult]:  # noqa: N802
        return self._drop(graph)


class Runtime:
    """`tensorrt.Runtime`. Its engines are JSON: {"profiles": [[1, 8], ...], "type": "uint8", "shape": [...]}."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, data: bytes) -> Any:
        """Return the engine; or None, with a message to the logger."""
        Library.loaded.append(data)
        if data.startswith(b"{"):
            return ICudaEngine(self._logger, json.loads(data))
        self._logger.log(Severity.ERROR, "Serialization assertion failed")
        return None


class ICudaEngine:
    """An engine that scores faces by the mean of their values."""

    def __init__(self, logger: Any, content: dict[str, Any]) -> None:
        self._logger, self._content = logger, content
        self.num_optimization_profiles, self.num_io_tensors = len(content["profiles"]), 2

    def get_tensor_name(self, index: int) -> str:
        return ("faces", "quality")[index]

    def get_tensor_mode(self, name: str) -> int:
        return TensorIOMode.INPUT if name == "faces" else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, *self._content.get("shape", (112, 112, 3))) if name == "faces" else (-1, 1)

    def get_tensor_dtype(self, name: str) -> str:
        return self._content.get("type", "uint8") if name == "faces" else "float32"

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        least, most = self._content["profiles"][profile_index]
        return [(size, 112, 112, 3) for size in (least, most, most)]

    def create_runtime_config(self) -> Any:
        return IRuntimeConfig()

    def create_execution_context(self, settings: Any) -> Any:
        Library.settings.append(settings)
        if self._content.get("too_large"):
            self._logger.log(Severity.ERROR, "Error Code 2: OutOfMemory (Requested size was 9 bytes.)")
            return None
        return IExecutionContext(self._logger, self._content)


class IExecutionContext:
    """An execution context; reads and writes memory at the given addresses."""

    def __init__(self, logger: Any, content: dict[str, Any]) -> None:
        self._logger, self._content = logger, content
        self._shape: tuple[int, ...] = ()
        self._addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self._least, self._most = self._content["profiles"][profile]
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = shape
        return bool(self._least <= shape[0] <= self._most)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if self._content.get("fails"):
            self._logger.log(Severity.ERROR, "Error Code 1: Cuda Runtime (illegal address)")
            return False

        def work() -> None:
            memory = Library.driver.held
            faces = np.frombuffer(memory[self._addresses["faces"]], np.uint8).reshape(self._shape)
            scores = np.frombuffer(memory[self._addresses["quality"]], np.float32)
            scores[:] = faces.reshape(len(faces), -1).mean(1)

        Library.driver.do(work)
        return True


class IRuntimeConfig:
    """`tensorrt_rtx.IRuntimeConfig`."""

    cuda_graph_strategy: Any = None
    dynamic_shapes_kernel_specialization_strategy: Any = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self._strategy = strategy

    def create_runtime_cache(self) -> Any:
        return IRuntimeCache()

    def set_runtime_cache(self, cache: Any) -> bool:
        self._cache = cache
        return True


class IRuntimeCache:
    """`tensorrt_rtx.IRuntimeCache`: its content is what was deserialised, or "compiled"."""

    content = b"compiled"

    def deserialize(self, data: bytes) -> bool:
        Library.kernels.append(data)
        self.content = data
        return True

    def serialize(self) -> bytes:
        return self.content


class ILogger:
    """`tensorrt.ILogger`."""


Severity = enum.IntEnum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"], start=0)
TensorIOMode = enum.IntEnum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"], start=0)
ExecutionContextAllocationStrategy = enum.IntEnum(
    "ExecutionContextAllocationStrategy", ["STATIC", "ON_PROFILE_CHANGE", "USER_MANAGED"], start=0
)
CudaGraphStrategy = enum.IntEnum("CudaGraphStrategy", ["DISABLED", "WHOLE_GRAPH_CAPTURE"], start=0)
DynamicShapesKernelSpecializationStrategy = enum.IntEnum(
    "DynamicShapesKernelSpecializationStrategy", ["LAZY", "EAGER", "NONE"], start=0
)
CLASSES = (Runtime, ICudaEngine, IExecutionContext, IRuntimeConfig, IRuntimeCache, ILogger)
ENUMERATIONS = (
    TensorIOMode, ExecutionContextAllocationStrategy, CudaGraphStrategy, DynamicShapesKernelSpecializationStrategy,
)  # fmt: skip


class Library:
    """The module `tensorrt` or `tensorrt_rtx`; records its calls."""

    driver: Driver
    loaded: list[bytes]
    settings: list[Any]
    kernels: list[bytes]

    def __init__(self, name: str, driver: Driver) -> None:
        Library.driver, Library.loaded, Library.settings, Library.kernels = driver, [], [], []
        self.__name__, self.__version__ = name, VERSION
        self.nptype = np.dtype
        for part in (*CLASSES, *ENUMERATIONS):
            setattr(self, part.__name__, part)


def write_engine(
    folder: Path, engine_format: str = "tensorrt", card: dict[str, Any] | None = None, **content: Any
) -> Path:
    """Write an engine that `Runtime` understands, and its card.

    Args:
        folder: Folder of both files.
        engine_format: Format of the engine: `tensorrt` or `tensorrt-rtx`.
        card: Replaces values of the card's field `engine`.
        content: Replaces values of the engine.
    """
    path = folder / "tiny.engine"
    path.write_bytes(json.dumps({"profiles": [[8, 8], [1, 1], [1, 8]], **content}).encode())
    engine = {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "version": VERSION, "architectures": ["8.6"],
        "batches": [1, 4, 8], "target": "", "command": "fiqa-export --model tiny", **(card or {}),
    }  # fmt: skip
    described = tiny_card(format=engine_format, precision="fp16", engine=engine, proven=False)
    path.with_suffix(".json").write_text(described.to_json())
    return path


def install(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> Driver:
    """Replace the real modules by these."""
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", driver)  # type: ignore[misc]
    for library in LIBRARIES.values():
        monkeypatch.setitem(sys.modules, library.module, Library(library.module, driver))  # type: ignore[misc]
    monkeypatch.setattr(tensorrt_library, "_LOGGERS", {})
    return driver
