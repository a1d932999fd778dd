"""Precision int8: explicit QuantizeLinear and DequantizeLinear nodes, as a strongly typed network wants them."""

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
"""How far the steps of an activation reach; see `Histogram.reach` and docs/export.md for what was measured."""


@dataclass(frozen=True, slots=True)
class Quantised:
    """A quantised model and how it came about.

    Attributes:
        model: The model.
        method: See `Histogram.reach`.
        faces: How many faces the ranges were measured on.
        ranges: By the name of an activation, the absolute value that the largest step stands for.
        layers: Names of the layers that compute in int8.
    """

    model: onnx.ModelProto
    method: str
    faces: int
    ranges: Mapping[str, float]
    layers: tuple[str, ...]


def quantise(model: onnx.ModelProto, faces: NDArray[np.uint8], method: str = METHOD) -> Quantised:
    """Let convolutions and matrix products take int8: symmetric, activations as a whole, weights by output channel.

    Nothing else is quantised: biases, activations after a layer, and the last layer stay as they are. So do depthwise
    convolutions, which have few products and much to lose: without them scores of fiqa-nano move a third as far.

    Args:
        model: An exported file in fp32.
        faces: (N, 112, 112, 3) uint8 BGR that the ranges of the activations are measured on; good and bad ones.
        method: See `Histogram.reach`.

    Returns:
        The same network; it takes and gives what it did.
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
    """Nodes and constants of the new graph; what several layers read is quantised once."""

    def __init__(self, graph: onnx.GraphProto, constants: Mapping[str, onnx.TensorProto]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants = dict(constants)
        self._done: set[str] = set()

    def activation(self, name: str, reach: float) -> str:
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
    """Size of a step: a float16 number kept as float32, so that int8+fp16 has the same steps as int8."""
    return np.maximum(reach / LEVELS, 2.0**-14).astype(np.float16).astype(np.float32)
