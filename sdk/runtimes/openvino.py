"""OpenVINO on the CPU: runs its own files (.xml with .bin) and ONNX files. Needs the extra `openvino`."""

import queue
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import DeviceError, ModelError
from sdk.models.loading import Model
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

TYPES = {"u8": "uint8", "f16": "float16", "f32": "float32", "f64": "float64"}
"""numpy's names of types, by OpenVINO's."""


class OpenVinoRuntime:
    """Runs a model in OpenVINO; see `sdk.runtimes.base.Runtime`.

    Each calling thread gets a stream of one core. A file for any batch size runs with batches of one face: a fixed
    shape is a tenth faster, and larger batches do not fit the CPU's caches.

    Args:
        model: The model, read and checked; ONNX or OpenVINO IR.
        precision: `bf16` to compute in bf16 all layers that are not quantised; None for the card's precision.
        threads: Number of threads that will call `run`.

    Raises:
        DeviceError: OpenVINO is not installed, or the CPU has no bf16.
        ModelError: OpenVINO cannot load the file, or the file differs from its card.
    """

    device = "openvino"
    sizes = ()  # each thread has batches of its own

    def __init__(self, model: Model, precision: str | None = None, threads: int = 1) -> None:
        openvino = load_openvino()
        core = openvino.Core()
        bf16, quantised = precision == "bf16", model.card.precision.startswith("int8")
        self.precision = "int8+bf16" if bf16 and quantised else precision or model.card.precision
        if bf16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise DeviceError(f"this CPU has no bf16, which {model.path} was asked to run in; leave precision out")
        settings = {
            # By default OpenVINO computes in bf16 if the CPU can. Quantised layers are not affected.
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
        }
        try:
            # From memory: the files may have changed since their bytes were checked.
            weights = openvino.Tensor(np.frombuffer(model.weights, np.uint8).copy()) if model.weights else b""
            network = core.read_model(model.data, weights)
            source = check_input(model, [_tensor_info(value) for value in network.inputs])
            name = check_output(model, [_tensor_info(value, model.card.output) for value in network.outputs]).name
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
        """See `Runtime.run`. At most `threads` calls run at once; further ones wait."""
        request = self._idle.get()
        try:
            # The request does not own this memory, so `values` must live until the end. It must be writable.
            values = pad_batch(np.require(batch, requirements=("C", "W")), self.batch)
            request.set_input_tensor(self._tensor(values, shared_memory=True))
            request.infer()
            # A copy: the next call of this request overwrites its output.
            scores = check_scores(np.array(request.get_tensor(self._output).data), self.batch, str(self._model))
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise memory_error(error, self.device, number_of_faces(len(batch))) from error
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
    """Import OpenVINO.

    Raises:
        DeviceError: It is not installed, or cannot be loaded.
    """
    try:
        return import_module("openvino")
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"OpenVINO is not installed ({error}): pip install 'fiqa[openvino]', or use an .onnx file on the cpu"
        ) from error
    except RuntimeError as error:  # its import looks up the home folder
        raise DeviceError("OpenVINO cannot be loaded by a user who has no home folder; set HOME to one") from error


def _tensor_info(value: Any, wanted: str = "") -> TensorInfo:
    """Describe an input or output of a network, by the name `wanted` if that is one of its names."""
    names, kind = sorted(value.get_names()), value.element_type.get_type_name()
    name = wanted if wanted in names else next(iter(names), "")
    if value.partial_shape.rank.is_dynamic:
        return TensorInfo(name, TYPES.get(kind, kind), None)
    shape = tuple(None if size.is_dynamic else size.get_length() for size in value.partial_shape)
    return TensorInfo(name, TYPES.get(kind, kind), shape)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def open_openvino(model: Model, device: str, precision: str | None, threads: int) -> OpenVinoRuntime:
    """Load a model into OpenVINO; see `sdk.runtimes.registry.Opener`. It has one device, the CPU."""
    return OpenVinoRuntime(model, precision, threads)
