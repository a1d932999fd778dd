"""TensorRT and TensorRT-RTX engines, run through their own libraries, with memory that is taken once."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import DeviceError, FiqaError, ModelError
from sdk.files.cache import find_in_cache, keep_in_cache
from sdk.models.loading import Model
from sdk.models.trust import check_fit, rebuild
from sdk.runtimes.base import TensorInfo, check_input, check_output, is_out_of_memory
from sdk.runtimes.cuda.memory import Cuda
from sdk.runtimes.cuda.packages import open_cuda
from sdk.runtimes.tensorrt_library import complaints, load_library, recorded, shared_logger

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Buffers and execution context for batches of up to one size.

    Attributes:
        size: Faces of the batch.
        faces: (size, ...) in the card's type and layout, in pinned memory: the input.
        scores: float32 (size, 1) in pinned memory: the output.
        context: TensorRT's execution context for this size.
        launch: Enqueues the copy to the GPU, the network, and the copy back.
    """

    size: int
    faces: NDArray[Any]
    scores: NDArray[np.float32]
    context: Any
    launch: Callable[[], None]


class TensorRTRuntime:
    """Runs an engine in TensorRT or TensorRT-RTX; see `sdk.runtimes.base.Runtime`. The card says in which.

    A single thread holds the GPU's context and does all work; callers wait for it. Each batch size of the engine has a
    bucket with its own buffers and CUDA graph, made once, so memory never grows. A batch runs in the smallest bucket
    that holds it. Normalisation is part of the network, so the faces are sent as bytes.

    Args:
        model: The engine, read and checked (`sdk.models.trust.check_engine`).
        number: Number of the GPU.

    Raises:
        DeviceError: The library, CUDA or the GPU is missing, or the GPU's memory is full.
        ModelError: The engine is for another version of the library or another GPU, or differs from its card.
    """

    def __init__(self, model: Model, number: int = 0) -> None:
        self.device = f"{model.card.format}:{number}"
        self.precision = model.card.precision
        self._owner = ThreadPoolExecutor(1, thread_name_prefix=f"fiqa-{self.device}")
        try:
            self._cuda, self._buckets = self._owner.submit(_open, model, number).result()
        except BaseException:
            self._owner.shutdown()
            raise
        self.sizes = tuple(bucket.size for bucket in self._buckets)
        self.batch = self.sizes[-1]

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """See `Runtime.run`."""
        return self._owner.submit(self._run, batch).result()

    def close(self) -> None:
        """See `Runtime.close`."""
        self._owner.submit(self._close).result()
        self._owner.shutdown()

    def _run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        bucket = next(bucket for bucket in self._buckets if bucket.size >= len(batch))
        # The rest of the bucket still holds faces of an earlier batch; their scores are not returned.
        bucket.faces[: len(batch)] = batch
        bucket.launch()
        self._cuda.synchronize()
        return bucket.scores[: len(batch), 0].copy()

    def _close(self) -> None:
        self._buckets = ()  # contexts must be freed before their memory
        self._cuda.close()


def _open(model: Model, number: int) -> tuple[Cuda, Sequence[Bucket]]:
    """Load the engine and run each bucket once. Called in the thread that owns the GPU's context."""
    library = load_library(model.card.format)
    cuda = open_cuda(number)
    try:
        check_fit(model.path, model.card, library.__version__, cuda.architecture)
        runtime = library.Runtime(shared_logger(library))
        engine = _ask(library, model, "load", lambda: runtime.deserialize_cuda_engine(model.data))
        names = _check_tensors(library, engine, model)
        settings, keep_kernels = _settings(library, engine, model, cuda.architecture)
        sizes = sorted(model.card.engine.batches)
        buckets = [_make_bucket(library, engine, model, cuda, settings, size, names) for size in sizes]
        if not buckets:
            raise ModelError(f"the card of {model.path} names no batches; {rebuild(model.card)}")
        keep_kernels()
        return cuda, buckets
    except BaseException:
        cuda.close()
        raise


def _ask(library: Any, model: Model, doing: str, call: Callable[[], Any]) -> Any:
    """Call the library; return the result. A result of None or False is a failure.

    Raises:
        DeviceError: The call fails because the GPU's memory is full.
        ModelError: The call fails for another reason.
    """
    with recorded(library) as heard:
        found = call()
    if found is not None and found is not False:
        return found
    words = complaints(heard)
    if is_out_of_memory(words):
        raise DeviceError(
            f"the GPU has not enough memory to {doing} {model.path}: {words}; end other programs on it, or build the "
            "engine for smaller batches (fiqa-export --batch)"
        )
    raise ModelError(f"{model.card.format} cannot {doing} {model.path}: {words}; {rebuild(model.card)}")


def _make_bucket(
    library: Any, engine: Any, model: Model, cuda: Cuda, settings: Any, size: int, names: tuple[str, str]
) -> Bucket:
    """Make a bucket and run it once. `names` are those of the input and the output."""
    profile = _find_profile(engine, model, names[0], size)
    context = _ask(library, model, "take memory for", lambda: engine.create_execution_context(settings))
    _ask(library, model, "take memory for", lambda: context.set_optimization_profile_async(profile, cuda.stream))
    cuda.synchronize()
    shape = (size, *tuple(engine.get_tensor_shape(names[0]))[1:])
    _ask(library, model, "run", lambda: context.set_input_shape(names[0], shape))
    faces = cuda.pinned(shape, model.card.input.dtype)
    scores = cuda.pinned((size, 1), np.float32)
    device_faces, device_scores = cuda.allocate(faces.nbytes), cuda.allocate(scores.nbytes)
    for name, address in zip(names, (device_faces, device_scores), strict=True):
        context.set_tensor_address(name, address)

    def enqueue() -> None:
        cuda.upload(device_faces, faces)
        _ask(library, model, "run", lambda: context.execute_async_v3(cuda.stream))
        cuda.download(scores, device_scores)

    faces[:] = 0
    enqueue()  # the first run does work that a CUDA graph may not contain
    cuda.synchronize()
    launch: Callable[[], None] = enqueue
    if model.card.format == "tensorrt":  # TensorRT-RTX makes its graphs itself
        try:
            launch = cuda.capture(enqueue)
        except FiqaError as error:
            logger.warning("%s runs without a CUDA graph, which is slower: %s", model.path, error)
    return Bucket(size, faces, scores, context, launch)


def _find_profile(engine: Any, model: Model, source: str, size: int) -> int:
    """Return the number of the narrowest optimisation profile that allows a batch of `size`."""
    found = []
    for profile in range(engine.num_optimization_profiles):
        least, _, most = (shape[0] for shape in engine.get_tensor_profile_shape(source, profile))
        if least <= size <= most:
            found.append((most - least, profile))
    if not found:
        raise ModelError(f"{model.path} takes no batch of {size}, as its card says; {rebuild(model.card)}")
    return min(found)[1]


def _settings(library: Any, engine: Any, model: Model, architecture: str) -> tuple[Any, Callable[[], None]]:
    """Return the settings of execution contexts, and a function to call after the first run of all of them.

    TensorRT-RTX compiles kernels when an engine first runs. The function keeps them in the cache for the next time.
    """
    # By default every context takes the memory of the largest profile.
    strategy = library.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
    if model.card.format == "tensorrt":
        return strategy, lambda: None
    settings = engine.create_runtime_config()
    settings.set_execution_context_allocation_strategy(strategy)
    settings.cuda_graph_strategy = library.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    # Eager: else the first batches run on slower kernels, until the fast ones are compiled.
    settings.dynamic_shapes_kernel_specialization_strategy = library.DynamicShapesKernelSpecializationStrategy.EAGER
    parts = (hashlib.sha256(model.data).hexdigest(), library.__version__, architecture)
    name = f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.kernels"
    known = find_in_cache("engines", name) or b""
    kernels = settings.create_runtime_cache()
    if known:
        kernels.deserialize(known)  # the library ignores kernels that do not fit
    settings.set_runtime_cache(kernels)
    return settings, lambda: _keep(name, bytes(kernels.serialize()), known)


def _keep(name: str, kernels: bytes, known: bytes) -> None:
    if kernels != known:
        keep_in_cache(kernels, "engines", name)


def _check_tensors(library: Any, engine: Any, model: Model) -> tuple[str, str]:
    """Compare an engine with its card; return the names of its input and its output.

    Raises:
        ModelError: The engine differs from its card.
    """
    found: dict[bool, list[TensorInfo]] = {True: [], False: []}
    for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
        dtype = np.dtype(library.nptype(engine.get_tensor_dtype(name))).name
        shape = tuple(None if size < 0 else size for size in engine.get_tensor_shape(name))
        found[engine.get_tensor_mode(name) == library.TensorIOMode.INPUT].append(TensorInfo(name, dtype, shape))
    if len(found[False]) != 1:
        raise ModelError(f"{model.path} has {len(found[False])} outputs, wanted one; {rebuild(model.card)}")
    # Only float32: the buckets' buffers have that type.
    return check_input(model, found[True]).name, check_output(model, found[False], ("float32",)).name


def open_tensorrt(model: Model, device: str, precision: str | None, threads: int) -> TensorRTRuntime:
    """Load an engine on a GPU; see `sdk.runtimes.registry.Opener`. It computes in the card's precision."""
    return TensorRTRuntime(model, int(device.partition(":")[2] or 0))
