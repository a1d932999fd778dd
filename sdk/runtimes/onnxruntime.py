"""onnxruntime: on the CPU, or on the requested execution provider and no other."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import DeviceError, FiqaError, ModelError
from sdk.models.formats import GPUS
from sdk.models.loading import Model, load_model
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
from sdk.runtimes.cuda.driver import gpu_memory
from sdk.runtimes.cuda.fixed_batches import SIZES, FixedBatches
from sdk.runtimes.cuda.libraries import preload_libraries
from sdk.runtimes.providers import (
    PROFILE,
    PROVIDERS,
    RECORD_ASSIGNMENT,
    check_assignment,
    load_onnxruntime,
    provider_options,
    require_gpu,
    require_provider,
)  # fmt: skip

logger = logging.getLogger(__name__)

CPU_BATCH = 8
"""Most faces of one call on the CPU; larger batches do not fit its caches."""

ALONE = 8
"""Calls of one face in a row, with no other call beside them, from which on a face is spread over the cores."""

PAUSE = 64
"""Faces that are scored on one core after spreading was slower, because other work had the cores."""

MOST_CORES = 4
"""Most cores that one face is spread over."""

SPIN = "1000"
"""Microseconds for which a thread of a spread face looks for work before it sleeps. With its default, some ten
milliseconds, it takes a core from other work; with 100 the face waits for it."""

WEIGHT = 0.1
"""Weight of the last call in a mean time."""

ENOUGH_MEMORY = 8 << 30
"""Memory of a GPU for which the largest batch is not too large, bytes."""

GRAPHS = {"enable_cuda_graph": "1"}
"""Option of the CUDA provider with which the runs of a batch size become one CUDA graph."""

MEMORY = "cuda"
"""onnxruntime's name of a GPU's memory."""

_TYPES = {
    "tensor(uint8)": "uint8",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}


class OnnxRuntime:
    """Runs an ONNX model in onnxruntime; see `sdk.runtimes.base.Runtime`.

    On the CPU a call uses one core, and several threads share the session. That is faster than one thread with several
    cores. A single caller is the exception; see `_Spreading`. On the CPU the model runs without PReLU nodes; see
    `sdk.onnx_bytes.prelu`.

    Args:
        model: The model, read and checked.
        device: `auto` (CUDA if it works, else the CPU), `cpu`, `openvino-ep`, or `cuda`, `tensorrt`, `tensorrt-rtx`,
            each with or without the number of a GPU.
        threads: Number of threads that will call `run`: on the CPU, the cores that a single face may be spread over.

    Raises:
        DeviceError: The requested device is missing.
        ModelError: onnxruntime cannot load the file, or the file differs from its card.
    """

    def __init__(self, model: Model, device: str = "auto", threads: int = 1) -> None:
        self._session, self.device, graphs = _create_session(model, device, threads)
        self.precision, self._model = model.card.precision, model.path
        kind, _, number = self.device.partition(":")
        source, output = check_session(self._session, model)
        self._input, self._output = source.name, output.name
        self._fixed = source.shape[0] if source.shape else None
        self.sizes: tuple[int, ...] = _sizes(kind, int(number or 0), self._fixed)
        self.batch = self.sizes[-1] if self.sizes else CPU_BATCH
        self._batches: FixedBatches | None = None
        self._spreading = _Spreading(model, threads) if kind == "cpu" and threads > 1 else None
        if kind in GPUS:
            names = (self._input, self._output)
            # TensorRT would build its engine again for another session, and keeps what it built for every size.
            another = partial(_another_session, model, int(number)) if kind == "cuda" else None
            self._batches = FixedBatches(self._session, another, *names, self.sizes, MEMORY, int(number), graphs)

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """See `Runtime.run`."""
        count = len(batch)
        with self._errors(count):
            if self._batches is not None:
                found = self._batches.run(batch)
            else:
                batch = batch if self._fixed is None else pad_batch(batch, self._fixed)
                found = self._run_on_cpu(batch)
        return check_scores(found, len(batch), str(self._model))[:count]

    def plan(self, face: NDArray[Any]) -> None:
        """See `sdk.runtimes.base.PlansAhead`."""
        with self._errors(self.batch):
            if self._batches is not None:
                self._batches.plan(face)

    @contextmanager
    def _errors(self, count: int) -> Iterator[None]:
        try:
            yield
        except FiqaError:
            raise
        except Exception as error:  # onnxruntime's errors have no base class of their own
            raise run_error(error, self.device, count) from error

    def close(self) -> None:
        """See `Runtime.close`."""
        if self._batches is not None:
            self._batches.close()
        self._spreading = None
        del self._session

    def _run_on_cpu(self, batch: NDArray[Any]) -> Any:
        names, given = [self._output], {self._input: batch}
        if self._spreading is None:
            return self._session.run(names, given)[0]
        with self._spreading.session(self._session, len(batch)) as session:
            return session.run(names, given)[0]


class _Spreading:
    """Spreads one face over several cores when nobody else calls. The score is the same, to the last bit.

    It takes more processor time, and is slower where other work has the cores. So only calls of one face are spread,
    after `ALONE` of them without another call beside them; and not for a while when it was slower than one core.

    Args:
        model: The model. It is read again when its first face is spread, so that others need no memory for that.
        threads: Cores that may be used.
    """

    def __init__(self, model: Model, threads: int) -> None:
        self._model, self._file = replace(model, data=b""), _state(model.path)
        self._cores = min(threads, MOST_CORES)
        self._lock = threading.Lock()
        self._session: Any = None
        self._is_new = False
        self._running = self._alone = self._pause = 0
        self._one_core = self._spread = 0.0
        self._possible = True

    @contextmanager
    def session(self, usual: Any, count: int) -> Iterator[Any]:
        """Give the session for a call of `count` faces: `usual`, or one that spreads its face; and time the call."""
        with self._lock:
            self._running += 1
            self._alone = self._alone + 1 if count == 1 and self._running == 1 else 0
            spread = self._possible and self._alone > ALONE and self._pause == 0
            self._pause = max(0, self._pause - 1)
        try:
            chosen = self._opened() if spread else None
            start = time.perf_counter()
            yield usual if chosen is None else chosen
            if self._alone:
                self._record(chosen is not None, time.perf_counter() - start)
        finally:
            with self._lock:
                self._running -= 1

    def _record(self, spread: bool, seconds: float) -> None:
        """Keep mean times. The first spread face after a pause must not be slower than the mean of one core."""
        if not spread:
            self._one_core += (seconds - self._one_core) * (WEIGHT if self._one_core else 1)
            self._spread = self._one_core
        elif self._is_new:
            self._is_new = False  # the first call of a session takes its memory
        else:
            self._spread += (seconds - self._spread) * WEIGHT
            if self._spread > self._one_core:
                self._pause = PAUSE

    def _opened(self) -> Any:
        """Return the session that spreads a face; None where the file is not there any more as it was."""
        if self._session is None:
            try:
                if _state(self._model.path) != self._file:
                    raise ModelError(f"{self._model.path} has changed since it was loaded")
                model = load_model(self._model.path, self._model.card)
                source = without_prelu(model.data)
                self._session = open_session(source, model, ["CPUExecutionProvider"], self._cores)
                self._is_new = True
            except FiqaError as error:
                logger.info("single faces stay on one core: %s", error)
                self._possible = False
        return self._session


def _state(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is replaced; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _another_session(model: Model, number: int) -> Any:
    return _provider_session(model, "cuda", number, 1)[0]


def _sizes(kind: str, number: int, fixed: int | None) -> tuple[int, ...]:
    """Return the batch sizes that a session runs in; none where every size runs as it is."""
    if fixed is not None:
        return (fixed,)
    if kind == "cuda":
        return SIZES if gpu_memory(number) >= ENOUGH_MEMORY else SIZES[:-1]
    return PROFILE if kind in GPUS else ()


def run_error(error: Exception, device: str, count: int) -> FiqaError:
    """Return the error to raise when onnxruntime fails on `count` faces."""
    if is_out_of_memory(error):
        return memory_error(error, device, number_of_faces(count))
    return ModelError(f"onnxruntime cannot run the model on {device}: {error}; run `fiqa doctor`, or use device='cpu'")


def create_session(model: Model, device: str, threads: int) -> tuple[Any, str]:
    """Open a session for batches of any size, and return it with the device that it runs on.

    The arguments are `OnnxRuntime`'s.

    Raises:
        DeviceError: The requested device is missing.
        ModelError: onnxruntime cannot load the file.
    """
    return _create_session(model, device, threads, graphs=False)[:2]


def _create_session(model: Model, device: str, threads: int, graphs: bool = True) -> tuple[Any, str, bool]:
    """Return a session, the device that it runs on, and whether it was made for CUDA graphs, which may be wanted."""
    kind, _, number = device.partition(":")
    available = load_onnxruntime().get_available_providers()
    if kind == "auto" and "CUDAExecutionProvider" in available:
        try:
            session, graphs = _provider_session(model, "cuda", 0, threads, graphs)
            logger.info("device auto: took cuda:0")
            return session, "cuda:0", graphs
        except FiqaError as error:
            logger.warning("device auto: took cpu, because %s", error)
    elif kind == "auto":
        logger.info("device auto: took cpu, because this onnxruntime has no CUDA provider")
    elif kind != "cpu":
        session, graphs = _provider_session(model, kind, int(number or 0), threads, graphs)
        return session, f"{kind}:{int(number or 0)}" if kind in GPUS else kind, graphs
    return open_session(without_prelu(model.data), model, ["CPUExecutionProvider"]), "cpu", False


def _provider_session(model: Model, kind: str, number: int, threads: int, graphs: bool = True) -> tuple[Any, bool]:
    """Open a session on a provider, for CUDA graphs where they are wanted, and check that it really runs there.

    Returns:
        The session, and whether it was made for CUDA graphs.

    Raises:
        DeviceError: The provider, the GPU or a library is missing, or the provider cannot start.
        ModelError: onnxruntime cannot load the model on the CPU either.
    """
    provider = require_provider(kind, load_onnxruntime().get_available_providers())
    device = f"{kind}:{number}" if kind in GPUS else kind
    if kind in GPUS:
        require_gpu(device, number)
        preload_libraries()
    options = provider_options(kind, number, model)
    if kind == "openvino-ep":
        options |= {"num_of_threads": str(threads), "num_streams": str(threads)}
    # Operators that TensorRT cannot run go to CUDA, never to the CPU.
    others = [(PROVIDERS["cuda"].name, provider_options("cuda", number, model))] if kind == "tensorrt" else []
    try:
        if kind == "cuda" and graphs:
            session, graphs = _open_for_graphs(model, device, provider.name, options)
        else:
            session, graphs = open_session(model.data, model, [(provider.name, options), *others]), False
    except ModelError as error:
        # If the CPU cannot load it either, the model is at fault.
        open_session(without_prelu(model.data), model, ["CPUExecutionProvider"])
        raise DeviceError(
            f"{device} was asked for, but onnxruntime cannot start {provider.name}: {error.__cause__}; it needs "
            f"{provider.libraries}: run `fiqa doctor`, or use device='cpu'"
        ) from error
    check_assignment(session, provider, device)
    return session, graphs


def _open_for_graphs(model: Model, device: str, provider: str, options: dict[str, str]) -> tuple[Any, bool]:
    """Open a session for CUDA graphs; or one without, if an operator of the model has to run on the CPU."""
    try:
        return open_session(model.data, model, [(provider, options | GRAPHS)]), True
    except ModelError as error:
        session = open_session(model.data, model, [(provider, options)])
        logger.warning("%s runs %s without CUDA graphs, which is slower: %s", device, model.path, error.__cause__)
        return session, False


def open_session(source: bytes | Path, model: Model, providers: list[Any], cores: int = 1) -> Any:
    """Open a session.

    Args:
        source: Content of the ONNX file, or its path.
        model: The model; named in errors.
        providers: Execution providers, as `onnxruntime.InferenceSession` takes them.
        cores: Threads that a call uses on the CPU; with 1 it is the caller's.

    Raises:
        ModelError: onnxruntime cannot load the file.
        DeviceError: The device has not enough memory.
    """
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = cores
    if cores > 1:
        options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN)
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
