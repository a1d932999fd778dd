"""OpenVINO on the CPU: its own files (.xml with .bin), and ONNX files as they are. Needs the extra `openvino`."""

import queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import DeviceError, ModelError
from sdk.models.loading import Model
from sdk.runtimes.base import pad_batch

TYPES = {"uint8": "u8", "float32": "f32"}


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
        try:
            import openvino
        except ImportError as error:
            raise DeviceError(
                f"OpenVINO is not installed ({error}): pip install 'fiqa[openvino]', or use an .onnx file on the cpu"
            ) from error
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
            self._output = _check_network(network, model)
            if network.inputs[0].partial_shape[0].is_dynamic:
                network.reshape([1, *[size.get_length() for size in list(network.inputs[0].partial_shape)[1:]]])
            compiled = core.compile_model(network, "CPU", settings)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot load {model.path}: {_first_line(error)}; export it again") from error
        self.batch: int = compiled.inputs[0].shape[0]
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
            scores = np.array(request.get_tensor(self._output).data, np.float32)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot run the model: {_first_line(error)}") from error
        finally:
            self._idle.put(request)
        if scores.size != self.batch:
            raise ModelError(f"the output has shape {scores.shape} for {self.batch} faces, wanted (N, 1)")
        return scores.reshape(-1)[: len(batch)]

    def close(self) -> None:
        """See `Runtime.close`."""
        while not self._idle.empty():
            self._idle.get()
        self._compiled = self._output = None


def _check_network(network: Any, model: Model) -> Any:
    """Compare a network with the model's card; returns the output."""
    spec = model.card.input
    if len(network.inputs) != 1:
        raise ModelError(f"{model.path} has {len(network.inputs)} inputs, wanted one; export it with fiqa-export")
    size = (spec.height, spec.width, 3) if spec.layout == "NHWC" else (3, spec.height, spec.width)
    shape, kind = network.inputs[0].partial_shape, network.inputs[0].element_type.get_type_name()
    fits = shape.rank.is_static and len(shape) == 4
    fits = fits and all(dim.is_static and dim.get_length() == n for dim, n in zip(list(shape)[1:], size, strict=True))
    if not fits or kind != TYPES[spec.dtype]:
        raise ModelError(
            f"{model.path} takes {kind} {shape}, its card says {TYPES[spec.dtype]} {['N', *size]}; correct the card"
        )
    names = [name for output in network.outputs for name in output.get_names()]
    if not model.card.output and len(network.outputs) == 1:
        return network.outputs[0]
    for output in network.outputs:
        if model.card.output in output.get_names():
            return output
    raise ModelError(f"{model.path} has the outputs {', '.join(names)}, its card says {model.card.output!r}")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
