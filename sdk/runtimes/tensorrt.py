"""TensorRT and TensorRT-RTX engines, run directly: no copy but those that the GPU makes itself, no growing memory."""

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
from sdk.runtimes.base import End, check_input, check_output, is_out_of_memory
from sdk.runtimes.cuda_memory import Cuda
from sdk.runtimes.tensorrt_library import complaints, load_library, recorded, shared_logger

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bucket:
    """All that a batch of one size needs, taken once.

    Attributes:
        size: Faces of the batch.
        faces: Pinned, (size, ...) as the card says: what goes up.
        scores: Pinned float32 (size, 1): what comes down.
        context: TensorRT's execution context with this size.
        launch: Enqueues the copy up, the network and the copy down.
    """

    size: int
    faces: NDArray[Any]
    scores: NDArray[np.float32]
    context: Any
    launch: Callable[[], None]


class TensorRTRuntime:
    """A `sdk.runtimes.base.Runtime` on TensorRT or TensorRT-RTX, as the model's card says.

    One thread of its own holds the GPU's context and does all work; callers wait for it. Every batch that the engine
    was built for is a bucket, with buffers and a CUDA graph of its own, so memory is taken here and never grows. A
    batch goes into the smallest bucket that holds it. Normalisation is in the network, so bytes go up.

    Args:
        model: The engine, read and checked (`sdk.models.trust.check_engine`).
        number: Number of the GPU.

    Raises:
        DeviceError: The library, CUDA or the GPU is not there, or its memory is full.
        ModelError: The engine is for another version of the library or another GPU, or is not what its card says.
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
        self.batch = self._buckets[-1].size

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """See `Runtime.run`."""
        return self._owner.submit(self._run, batch).result()

    def close(self) -> None:
        """See `Runtime.close`."""
        self._owner.submit(self._close).result()
        self._owner.shutdown()

    def _run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        bucket = next(bucket for bucket in self._buckets if bucket.size >= len(batch))
        # What an earlier batch left in the rest is scored too, and dropped.
        bucket.faces[: len(batch)] = batch
        bucket.launch()
        self._cuda.synchronize()
        return bucket.scores[: len(batch), 0].copy()

    def _close(self) -> None:
        self._buckets = ()  # contexts go before the memory that they use
        self._cuda.close()


def _open(model: Model, number: int) -> tuple[Cuda, Sequence[Bucket]]:
    """Everything up to the first score; runs in the owner thread."""
    library = load_library(model.card.format)
    cuda = Cuda(number)
    try:
        check_fit(model.path, model.card, library.__version__, cuda.architecture)
        runtime = library.Runtime(shared_logger(library))
        engine = _ask(library, model, "load", lambda: runtime.deserialize_cuda_engine(model.data))
        ends = _check_ends(library, engine, model)
        settings, keep_kernels = _settings(library, engine, model, cuda.architecture)
        sizes = sorted(model.card.engine.batches)
        buckets = [_make_bucket(library, engine, model, cuda, settings, size, ends) for size in sizes]
        if not buckets:
            raise ModelError(f"the card of {model.path} names no batches; {rebuild(model.card)}")
        keep_kernels()
        return cuda, buckets
    except BaseException:
        cuda.close()
        raise


def _ask(library: Any, model: Model, doing: str, call: Callable[[], Any]) -> Any:
    """What a call of the library gives.

    Raises:
        DeviceError: It gives nothing, because the GPU's memory is full.
        ModelError: It gives nothing for another reason.
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
    library: Any, engine: Any, model: Model, cuda: Cuda, settings: Any, size: int, ends: tuple[str, str]
) -> Bucket:
    """A bucket that has run once."""
    profile = _find_profile(engine, model, ends[0], size)
    context = _ask(library, model, "take memory for", lambda: engine.create_execution_context(settings))
    _ask(library, model, "take memory for", lambda: context.set_optimization_profile_async(profile, cuda.stream))
    cuda.synchronize()
    shape = (size, *tuple(engine.get_tensor_shape(ends[0]))[1:])
    _ask(library, model, "run", lambda: context.set_input_shape(ends[0], shape))
    faces = cuda.pinned(shape, model.card.input.dtype)
    scores = cuda.pinned((size, 1), np.float32)
    upper, lower = cuda.allocate(faces.nbytes), cuda.allocate(scores.nbytes)
    for name, address in zip(ends, (upper, lower), strict=True):
        context.set_tensor_address(name, address)

    def enqueue() -> None:
        cuda.upload(upper, faces)
        _ask(library, model, "run", lambda: context.execute_async_v3(cuda.stream))
        cuda.download(scores, lower)

    faces[:] = 0
    enqueue()  # what the library puts off until the first run may not be part of a graph
    cuda.synchronize()
    launch: Callable[[], None] = enqueue
    if model.card.format == "tensorrt":  # TensorRT-RTX makes its graphs itself
        try:
            launch = cuda.capture(enqueue)
        except FiqaError as error:
            logger.warning("%s runs without a CUDA graph, which is slower: %s", model.path, error)
    return Bucket(size, faces, scores, context, launch)


def _find_profile(engine: Any, model: Model, source: str, size: int) -> int:
    """The optimisation profile that is closest about a batch."""
    found = []
    for profile in range(engine.num_optimization_profiles):
        least, _, most = (shape[0] for shape in engine.get_tensor_profile_shape(source, profile))
        if least <= size <= most:
            found.append((most - least, profile))
    if not found:
        raise ModelError(f"{model.path} takes no batch of {size}, as its card says; {rebuild(model.card)}")
    return min(found)[1]


def _settings(library: Any, engine: Any, model: Model, architecture: str) -> tuple[Any, Callable[[], None]]:
    """What execution contexts are made with, and what is to be done when all of them have run.

    TensorRT-RTX compiles its kernels when an engine first runs; they are kept in the cache for the next time.
    """
    # By default every context takes memory for the largest profile.
    strategy = library.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
    if model.card.format == "tensorrt":
        return strategy, lambda: None
    settings = engine.create_runtime_config()
    settings.set_execution_context_allocation_strategy(strategy)
    settings.cuda_graph_strategy = library.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    # Lazily, the first batches would run on slower kernels.
    settings.dynamic_shapes_kernel_specialization_strategy = library.DynamicShapesKernelSpecializationStrategy.EAGER
    parts = (hashlib.sha256(model.data).hexdigest(), library.__version__, architecture)
    name = f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.kernels"
    known = find_in_cache("engines", name) or b""
    kernels = settings.create_runtime_cache()
    if known:
        kernels.deserialize(known)  # the library itself finds out whether they fit
    settings.set_runtime_cache(kernels)
    return settings, lambda: _keep(name, bytes(kernels.serialize()), known)


def _keep(name: str, kernels: bytes, known: bytes) -> None:
    if kernels != known:
        keep_in_cache(kernels, "engines", name)


def _check_ends(library: Any, engine: Any, model: Model) -> tuple[str, str]:
    """Compare an engine with its card; the names of input and output.

    Raises:
        ModelError: They differ.
    """
    found: dict[bool, list[End]] = {True: [], False: []}
    for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
        dtype = np.dtype(library.nptype(engine.get_tensor_dtype(name))).name
        shape = tuple(None if size < 0 else size for size in engine.get_tensor_shape(name))
        found[engine.get_tensor_mode(name) == library.TensorIOMode.INPUT].append(End(name, dtype, shape))
    if len(found[False]) != 1:
        raise ModelError(f"{model.path} has {len(found[False])} outputs, wanted one; {rebuild(model.card)}")
    # A bucket has room for float32.
    return check_input(model, found[True]).name, check_output(model, found[False], ("float32",)).name


def open_tensorrt(model: Model, device: str, precision: str | None, threads: int) -> TensorRTRuntime:
    """Load an engine on a GPU; see `sdk.runtimes.registry.Opener`. It computes in the card's precision."""
    return TensorRTRuntime(model, int(device.partition(":")[2] or 0))
