"""onnxruntime: on the CPU, or on the execution provider that was asked for and no other."""

import contextlib
import hashlib
import io
import logging
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import DeviceError, FiqaError, ModelError
from sdk.files.cache import cache_dir, find_in_cache, keep_in_cache
from sdk.models.loading import Model
from sdk.onnx_bytes.prelu import VERSION, replace_prelu
from sdk.runtimes.base import (
    End,
    check_input,
    check_output,
    check_scores,
    is_out_of_memory,
    memory_error,
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
"""Most faces a call on the CPU; larger batches fall out of its caches."""

_TYPES = {
    "tensor(uint8)": "uint8",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}


class OnnxRuntime:
    """A `sdk.runtimes.base.Runtime` on onnxruntime.

    On the CPU a call uses one core, and several callers share the session: that is faster than one caller with several
    cores. The session holds the model without PReLU nodes (`sdk.onnx_bytes.prelu`).

    Args:
        model: The model, read and checked.
        device: `auto` (CUDA where it works, else the CPU), `cpu`, `openvino-ep`, or `cuda`, `tensorrt`, `tensorrt-rtx`
            with or without the number of a GPU.
        threads: How many callers there will be, for a provider that has threads of its own.

    Raises:
        DeviceError: The device was asked for and is not there.
        ModelError: onnxruntime cannot load the file, or the file is not what its card says.
    """

    def __init__(self, model: Model, device: str = "auto", threads: int = 1) -> None:
        self._session, self.device = _create_session(model, device, threads)
        self.precision, self._model = model.card.precision, model.path
        kind = self.device.partition(":")[0]
        source, output = ends(self._session, model)
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
    """Buffers on a GPU that stay from call to call: for every thread one a batch size, and sizes are powers of two.

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
        """The output for a batch, (N, ...)."""
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
    """The error for what onnxruntime raises while it runs a model on so many faces."""
    if is_out_of_memory(error):
        return memory_error(error, device, f"{count} faces")
    return ModelError(f"onnxruntime cannot run the model on {device}: {error}; run `fiqa doctor`, or use device='cpu'")


def _create_session(model: Model, device: str, threads: int) -> tuple[Any, str]:
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
    return open_session(_without_prelu(model.data), model, ["CPUExecutionProvider"]), "cpu"


def _provider_session(model: Model, kind: str, number: int, threads: int) -> Any:
    """A session on one provider, proven to be it.

    Raises:
        DeviceError: The provider is not there, or its session cannot be made.
        ModelError: The model is no model for any device.
    """
    onnxruntime = load_onnxruntime()
    provider = require_provider(kind, onnxruntime.get_available_providers())
    options = provider_options(kind, number, model)
    if kind == "openvino-ep":
        options |= {"num_of_threads": str(threads), "num_streams": str(threads)}
    elif hasattr(onnxruntime, "preload_dlls"):  # libraries from wheels are not where the loader looks
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            onnxruntime.preload_dlls()
        logger.info("CUDA libraries: %s", said.getvalue().strip() or "found")
    # A TensorRT provider leaves to CUDA what it cannot do, and nothing to the CPU.
    others = [("CUDAExecutionProvider", {"device_id": str(number), "use_tf32": "0"})] if kind == "tensorrt" else []
    device = f"{kind}:{number}" if kind != "openvino-ep" else kind
    try:
        session = open_session(model.data, model, [(provider.name, options), *others])
    except ModelError as error:
        open_session(model.data, model, ["CPUExecutionProvider"])  # what the CPU cannot load, is the model's fault
        raise DeviceError(
            f"{device} was asked for, but onnxruntime cannot start {provider.name}: {error.__cause__}; it needs "
            f"{provider.libraries}, and a GPU where it is for one: run `fiqa doctor`, or use device='cpu'"
        ) from error
    check_assignment(session, provider, device)
    return session


def open_session(source: bytes | Path, model: Model, providers: list[Any]) -> Any:
    """A session of one thread a caller.

    Args:
        source: The file, or its path.
        model: Names the model in errors.
        providers: As onnxruntime takes them.

    Raises:
        ModelError: onnxruntime cannot load it.
        DeviceError: The device has not enough memory.
    """
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # Else it looks for its own format in the bytes, which is not what was checked.
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


def ends(session: Any, model: Model) -> tuple[End, End]:
    """Input and output of a session, as the model's card has them.

    Raises:
        ModelError: They differ.
    """
    return (
        check_input(model, [end_of(value) for value in session.get_inputs()]),
        check_output(model, [end_of(value) for value in session.get_outputs()]),
    )


def end_of(value: Any) -> End:
    """An input or output of a session."""
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return End(value.name, _TYPES.get(value.type, value.type), shape)


def _without_prelu(data: bytes) -> bytes | Path:
    """The rewritten model: a file in the cache, from which onnxruntime reads without a second copy in memory.

    The name holds the hashes of what was rewritten and of the result, so a damaged file is never taken.
    """
    if b"PRelu" not in data:
        return data
    prefix = f"{hashlib.sha256(data).hexdigest()[:32]}-{VERSION}-"
    with suppress(OSError):  # a cache that cannot be read is no cache
        for path in (cache_dir() / "rewritten").glob(f"{prefix}*.onnx"):
            known = find_in_cache("rewritten", path.name)
            if known is not None and _digest(known) == path.stem.removeprefix(prefix):
                return path
    rewritten = replace_prelu(data)
    if rewritten is data:
        return data
    return keep_in_cache(rewritten, "rewritten", f"{prefix}{_digest(rewritten)}.onnx") or rewritten


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def open_onnxruntime(model: Model, device: str, precision: str | None, threads: int) -> OnnxRuntime:
    """Load a model into onnxruntime; see `sdk.runtimes.registry.Opener`. It computes in the card's precision."""
    return OnnxRuntime(model, device, threads)
