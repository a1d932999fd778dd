"""Precision int8: explicit QuantizeLinear and DequantizeLinear nodes, which strongly typed TensorRT networks need."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from export.graph.front_end import OUTPUT
from export.graph.ranges import LEVELS, histograms
from export.graph.rewrite import constants_of, lift_constants

METHOD = "99.999"
"""Default method to choose the range of an activation: this percentile. docs/export.md has the measurements."""


@dataclass(frozen=True, slots=True)
class Quantised:
    """A quantised model and its ranges.

    Attributes:
        model: The model.
        method: Method that chose the ranges, see `Histogram.reach`.
        faces: Number of faces that the ranges were measured on.
        ranges: The largest absolute value that int8 can hold, by the name of the activation.
        layers: Names of the layers that compute in int8.
    """

    model: onnx.ModelProto
    method: str
    faces: int
    ranges: Mapping[str, float]
    layers: tuple[str, ...]


def quantise(model: onnx.ModelProto, faces: NDArray[np.uint8], method: str = METHOD) -> Quantised:
    """Let convolutions and matrix products compute in int8.

    Quantisation is symmetric: one scale for an activation, one scale for each output channel of a weight. Biases,
    activations after a layer, depthwise convolutions and the last layer are not quantised. Depthwise convolutions have
    few products; quantised, they moved the scores of fiqa-nano three times as far.

    Args:
        model: An exported file in fp32.
        faces: uint8 BGR (N, 112, 112, 3), good and bad faces to measure the ranges of the activations on.
        method: Method to choose the ranges, see `Histogram.reach`.

    Returns:
        A new model with the same input and output.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    lift_constants(graph)
    constants = constants_of(graph)
    layers = [node for node in graph.node if _quantisable(node, constants)]
    values = list(dict.fromkeys(node.input[0] for node in layers))
    found = histograms(result, values, faces)
    ranges = {name: found[name].reach(method) for name in values}
    writer = _Writer(graph, constants)
    names = {node.name for node in layers}
    for node in list(graph.node):
        if node.name in names:
            node.input[0] = writer.activation(node.input[0], ranges[node.input[0]])
            node.input[1] = writer.weight(node.input[1], _channel_axis(node))
        writer.nodes.append(node)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(writer.nodes)
    used = {name for node in graph.node for name in node.input}
    graph.initializer.extend(tensor for name, tensor in writer.constants.items() if name in used)
    return Quantised(result, method, len(faces), ranges, tuple(node.name for node in layers))


def _quantisable(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    depthwise = any(attribute.name == "group" and attribute.i > 1 for attribute in node.attribute)
    plain = (
        not depthwise
        and node.op_type in ("Conv", "Gemm")
        and node.input[0] not in constants
        and node.input[1] in constants
    )
    return plain and OUTPUT not in node.output


def _channel_axis(node: onnx.NodeProto) -> int:
    if node.op_type == "Conv":
        return 0
    transposed = {attribute.name: attribute.i for attribute in node.attribute}.get("transB", 0)
    return 0 if transposed else 1


class _Writer:
    """Collects the nodes and constants of the new graph. What several layers read is quantised once."""

    def __init__(self, graph: onnx.GraphProto, constants: Mapping[str, onnx.TensorProto]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants = dict(constants)
        self._done: set[str] = set()

    def activation(self, name: str, reach: float) -> str:
        """Quantise an activation; return the name of its dequantised value."""
        result = f"{name}_dequantised"
        if result not in self._done:
            self._done.add(result)
            scale = self._add(f"{name}_scale", _steps(np.asarray(reach)))
            zero = self._add(f"{name}_zero", np.zeros((), np.int8))
            self.nodes += [
                helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}_int8"], f"quantise_{name}"),
                helper.make_node("DequantizeLinear", [f"{name}_int8", scale, zero], [result], f"dequantise_{name}"),
            ]
        return result

    def weight(self, name: str, axis: int) -> str:
        """Quantise a weight for each channel on an axis; return the name of its dequantised value."""
        result = f"{name}_dequantised"
        if result not in self._done:
            self._done.add(result)
            values = numpy_helper.to_array(self.constants[name])
            others = tuple(other for other in range(values.ndim) if other != axis)
            scales = _steps(np.abs(values).max(axis=others))
            shape = [-1 if other == axis else 1 for other in range(values.ndim)]
            steps = np.clip(np.rint(values / scales.reshape(shape)), -LEVELS, LEVELS).astype(np.int8)
            inputs = [
                self._add(f"{name}_int8", steps),
                self._add(f"{name}_scale", scales),
                self._add(f"{name}_zero", np.zeros(scales.shape, np.int8)),
            ]
            self.nodes.append(helper.make_node("DequantizeLinear", inputs, [result], f"dequantise_{name}", axis=axis))
        return result

    def _add(self, name: str, values: NDArray[np.generic]) -> str:
        self.constants[name] = numpy_helper.from_array(values, name)
        return name


def _steps(reach: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return the size of a step: rounded to float16, kept as float32. So int8+fp16 has the same steps as int8."""
    return np.maximum(reach / LEVELS, 2.0**-14).astype(np.float16).astype(np.float32)
