"""OpenVINO on the CPU: its own files (.xml with .bin), and ONNX files as they are. Needs the extra `openvino`."""

import queue
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import DeviceError, ModelError
from sdk.models.loading import Model
from sdk.runtimes.base import End, check_input, check_output, check_scores, is_out_of_memory, memory_error, pad_batch

TYPES = {"u8": "uint8", "f16": "float16", "f32": "float32", "f64": "float64"}
"""numpy's names by OpenVINO's."""


class OpenVinoRuntime:
    """A `sdk.runtimes.base.Runtime` on OpenVINO.

    Every caller gets a stream of one core. Where the file takes any batch, the batch is one face: a fixed shape is a
    tenth faster, and larger batches fall out of the CPU's caches.

    Args:
        model: The model, read and checked; ONNX or OpenVINO IR.
        precision: `bf16` to compute in that what is not quantised; None for the card's precision.
        threads: How many callers there will be.

    Raises:
        DeviceError: OpenVINO is not installed, or the CPU has no bf16.
        ModelError: OpenVINO cannot load the file, or the file is not what its card says.
    """

    device = "openvino"

    def __init__(self, model: Model, precision: str | None = None, threads: int = 1) -> None:
        openvino = load_openvino()
        core = openvino.Core()
        bf16, quantised = precision == "bf16", model.card.precision.startswith("int8")
        self.precision = "int8+bf16" if bf16 and quantised else precision or model.card.precision
        if bf16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise DeviceError(f"this CPU has no bf16, which {model.path} was asked to run in; leave precision out")
        settings = {
            # Left to itself OpenVINO computes in bf16 where the CPU can. What is quantised, stays so.
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
        }
        try:
            # From the bytes that were checked: the files may have changed since.
            weights = openvino.Tensor(np.frombuffer(model.weights, np.uint8).copy()) if model.weights else b""
            network = core.read_model(model.data, weights)
            source = check_input(model, [_end(value) for value in network.inputs])
            name = check_output(model, [_end(value, model.card.output) for value in network.outputs]).name
            self._output: Any = next(value for value in network.outputs if name in ("", *value.get_names()))
            if source.shape and source.shape[0] is None:
                network.reshape([1, *model.card.input.shape])
            compiled = core.compile_model(network, "CPU", settings)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise memory_error(error, self.device, f"{model.path}") from error
            raise ModelError(f"OpenVINO cannot load {model.path}: {_first_line(error)}; export it again") from error
        self.batch: int = compiled.inputs[0].shape[0]
        self._model = model.path
        self._tensor = openvino.Tensor
        self._compiled: Any = compiled
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(threads):
            self._idle.put(compiled.create_infer_request())

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """See `Runtime.run`. More callers than `threads` wait for each other."""
        request = self._idle.get()
        try:
            # Kept by name until the call is over: the request does not own the memory, which must be writable.
            values = pad_batch(np.require(batch, requirements=("C", "W")), self.batch)
            request.set_input_tensor(self._tensor(values, shared_memory=True))
            request.infer()
            # Copied while no other caller has the request.
            scores = check_scores(np.array(request.get_tensor(self._output).data), self.batch, str(self._model))
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise memory_error(error, self.device, f"{len(batch)} faces") from error
            raise ModelError(f"OpenVINO cannot run the model: {_first_line(error)}") from error
        finally:
            self._idle.put(request)
        return scores[: len(batch)]

    def close(self) -> None:
        """See `Runtime.close`."""
        while not self._idle.empty():
            self._idle.get()
        self._compiled = self._output = None


def load_openvino() -> Any:
    """The module.

    Raises:
        DeviceError: It is not installed, or does not load.
    """
    try:
        return import_module("openvino")
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"OpenVINO is not installed ({error}): pip install 'fiqa[openvino]', or use an .onnx file on the cpu"
        ) from error
    except RuntimeError as error:  # what it asks for when it is imported
        raise DeviceError("OpenVINO cannot be loaded by a user who has no home folder; set HOME to one") from error


def _end(value: Any, wanted: str = "") -> End:
    """An input or output of a network; of several names the one that is wanted."""
    names, kind = sorted(value.get_names()), value.element_type.get_type_name()
    name = wanted if wanted in names else next(iter(names), "")
    if value.partial_shape.rank.is_dynamic:
        return End(name, TYPES.get(kind, kind), None)
    shape = tuple(None if size.is_dynamic else size.get_length() for size in value.partial_shape)
    return End(name, TYPES.get(kind, kind), shape)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def open_openvino(model: Model, device: str, precision: str | None, threads: int) -> OpenVinoRuntime:
    """Load a model into OpenVINO; see `sdk.runtimes.registry.Opener`. It has one device, the CPU."""
    return OpenVinoRuntime(model, precision, threads)
