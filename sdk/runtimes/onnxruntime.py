"""onnxruntime: on the CPU, or on the requested execution provider and no other."""

import contextlib
import io
import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import DeviceError, FiqaError, ModelError
from sdk.models.loading import Model
from sdk.onnx_bytes.prelu_cache import without_prelu
from sdk.runtimes.base import (
    TensorInfo,
    check_input,
    check_output,
    check_scores,
    is_out_of_memory,
    memory_error,
    number_of_faces,
    pad_batch,
)  # fmt: skip
from sdk.runtimes.providers import (
    PROFILE,
    RECORD_ASSIGNMENT,
    check_assignment,
    load_onnxruntime,
    provider_options,
    require_provider,
)  # fmt: skip

logger = logging.getLogger(__name__)

CPU_BATCH = 8
"""Most faces of one call on the CPU; larger batches do not fit its caches."""

_TYPES = {
    "tensor(uint8)": "uint8",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}


class OnnxRuntime:
    """Runs an ONNX model in onnxruntime; see `sdk.runtimes.base.Runtime`.

    On the CPU a call uses one core, and several threads share the session. That is faster than one thread with several
    cores. There the model runs without PReLU nodes; see `sdk.onnx_bytes.prelu`.

    Args:
        model: The model, read and checked.
        device: `auto` (CUDA if it works, else the CPU), `cpu`, `openvino-ep`, or `cuda`, `tensorrt`, `tensorrt-rtx`,
            each with or without the number of a GPU.
        threads: Number of threads that will call `run`; for a provider that has its own threads.

    Raises:
        DeviceError: The requested device is missing.
        ModelError: onnxruntime cannot load the file, or the file differs from its card.
    """

    def __init__(self, model: Model, device: str = "auto", threads: int = 1) -> None:
        self._session, self.device = create_session(model, device, threads)
        self.precision, self._model = model.card.precision, model.path
        kind = self.device.partition(":")[0]
        source, output = check_session(self._session, model)
        self._input, self._output = source.name, output.name
        self._fixed = source.shape[0] if source.shape else None
        self.batch = self._fixed or (CPU_BATCH if kind in ("cpu", "openvino-ep") else PROFILE[-1])
        self._buffers = DeviceBuffers(self._session, self._input, self._output, "cuda") if ":" in self.device else None

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """See `Runtime.run`."""
        count = len(batch)
        if self._fixed is not None:
            batch = pad_batch(batch, self._fixed)
        try:
            if self._buffers is not None:
                found = self._buffers.run(batch)
            else:
                found = self._session.run([self._output], {self._input: batch})[0]
        except Exception as error:  # onnxruntime's errors have no base class of their own
            raise run_error(error, self.device, count) from error
        return check_scores(found, len(batch), str(self._model))[:count]

    def close(self) -> None:
        """See `Runtime.close`."""
        self._buffers = None
        del self._session


class DeviceBuffers:
    """Input buffers on a GPU, kept between calls: one for each thread and batch size. Batch sizes are powers of two.

    Args:
        session: An onnxruntime session.
        source: Name of its input.
        output: Name of its output.
        device: onnxruntime's name of the memory: `cuda`, or `cpu`.
    """

    def __init__(self, session: Any, source: str, output: str, device: str) -> None:
        self._session, self._source, self._output, self._device = session, source, output, device
        options: dict[str, str] = next(iter(session.get_provider_options().values()), {})
        self._number = int(options.get("device_id", 0))
        self._own = threading.local()

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Run a batch (N, ...); return its output (N, ...)."""
        import onnxruntime

        size = 1 << (len(batch) - 1).bit_length()
        bound: dict[int, tuple[Any, Any]] = self._own.__dict__.setdefault("bound", {})
        if size not in bound:
            shape = (size, *batch.shape[1:])
            values = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, batch.dtype, self._device, self._number)
            binding = self._session.io_binding()
            binding.bind_ortvalue_input(self._source, values)
            binding.bind_output(self._output, "cpu")
            bound[size] = (binding, values)
        binding, values = bound[size]
        values.update_inplace(pad_batch(batch, size))
        self._session.run_with_iobinding(binding)
        found: NDArray[Any] = binding.copy_outputs_to_cpu()[0]
        return found[: len(batch)] if len(found) == size else found


def run_error(error: Exception, device: str, count: int) -> FiqaError:
    """Return the error to raise when onnxruntime fails on `count` faces."""
    if is_out_of_memory(error):
        return memory_error(error, device, number_of_faces(count))
    return ModelError(f"onnxruntime cannot run the model on {device}: {error}; run `fiqa doctor`, or use device='cpu'")


def create_session(model: Model, device: str, threads: int) -> tuple[Any, str]:
    """Open a session on a device, and return it with the device that it runs on. The arguments are `OnnxRuntime`'s.

    Raises:
        DeviceError: The requested device is missing.
        ModelError: onnxruntime cannot load the file.
    """
    kind, _, number = device.partition(":")
    available = load_onnxruntime().get_available_providers()
    if kind == "auto" and "CUDAExecutionProvider" in available:
        try:
            session = _provider_session(model, "cuda", 0, threads)
            logger.info("device auto: took cuda:0")
            return session, "cuda:0"
        except FiqaError as error:
            logger.warning("device auto: took cpu, because %s", error)
    elif kind == "auto":
        logger.info("device auto: took cpu, because this onnxruntime has no CUDA provider")
    elif kind != "cpu":
        require_provider(kind, available)
        session = _provider_session(model, kind, int(number or 0), threads)
        return session, kind if kind == "openvino-ep" else f"{kind}:{int(number or 0)}"
    return open_session(without_prelu(model.data), model, ["CPUExecutionProvider"]), "cpu"


def _provider_session(model: Model, kind: str, number: int, threads: int) -> Any:
    """Open a session on a provider, and check that it really runs there.

    Raises:
        DeviceError: The provider is missing, or cannot start.
        ModelError: onnxruntime cannot load the model on the CPU either.
    """
    onnxruntime = load_onnxruntime()
    provider = require_provider(kind, onnxruntime.get_available_providers())
    options = provider_options(kind, number, model)
    if kind == "openvino-ep":
        options |= {"num_of_threads": str(threads), "num_streams": str(threads)}
    elif hasattr(onnxruntime, "preload_dlls"):  # the system's loader does not find CUDA's libraries in wheels
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            onnxruntime.preload_dlls()
        logger.info("CUDA libraries: %s", said.getvalue().strip() or "found")
    # Operators that TensorRT cannot run go to CUDA, never to the CPU.
    others = [("CUDAExecutionProvider", {"device_id": str(number), "use_tf32": "0"})] if kind == "tensorrt" else []
    device = f"{kind}:{number}" if kind != "openvino-ep" else kind
    try:
        session = open_session(model.data, model, [(provider.name, options), *others])
    except ModelError as error:
        open_session(model.data, model, ["CPUExecutionProvider"])  # if the CPU cannot load it, the model is at fault
        raise DeviceError(
            f"{device} was asked for, but onnxruntime cannot start {provider.name}: {error.__cause__}; it needs "
            f"{provider.libraries}, and a GPU where it is for one: run `fiqa doctor`, or use device='cpu'"
        ) from error
    check_assignment(session, provider, device)
    return session


def open_session(source: bytes | Path, model: Model, providers: list[Any]) -> Any:
    """Open a session in which each call uses one thread: the caller's.

    Args:
        source: Content of the ONNX file, or its path.
        model: The model; named in errors.
        providers: Execution providers, as `onnxruntime.InferenceSession` takes them.

    Raises:
        ModelError: onnxruntime cannot load the file.
        DeviceError: The device has not enough memory.
    """
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # Otherwise onnxruntime also accepts its own ORT format, which `check_onnx` has not checked.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    if providers != ["CPUExecutionProvider"]:
        options.add_session_config_entry(RECORD_ASSIGNMENT, "1")
    try:
        return onnxruntime.InferenceSession(
            str(source) if isinstance(source, Path) else source, options, providers=providers, enable_fallback=0
        )
    except Exception as error:  # onnxruntime's errors have no base class of their own
        if is_out_of_memory(error):
            raise memory_error(error, "the device", "the model") from error
        raise ModelError(f"onnxruntime cannot load {model.path}: {error}") from error


def check_session(session: Any, model: Model) -> tuple[TensorInfo, TensorInfo]:
    """Compare a session with the model's card; return its input and its output.

    Raises:
        ModelError: They differ from the card.
    """
    return (
        check_input(model, [tensor_info(value) for value in session.get_inputs()]),
        check_output(model, [tensor_info(value) for value in session.get_outputs()]),
    )


def tensor_info(value: Any) -> TensorInfo:
    """Describe an input or output of a session."""
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorInfo(value.name, _TYPES.get(value.type, value.type), shape)


def open_onnxruntime(model: Model, device: str, precision: str | None, threads: int) -> OnnxRuntime:
    """Load a model into onnxruntime; see `sdk.runtimes.registry.Opener`. It computes in the card's precision."""
    return OnnxRuntime(model, device, threads)
