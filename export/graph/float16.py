"""Precision fp16: the types in the graph say it, so every runtime computes what the file says."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graph.front_end import FRONT
from export.graph.rewrite import constants_of, lift_constants, value_types
from sdk.errors import ModelError

_NORM, _NORM_END = "ReduceL2", "Div"


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute in float16 between the front end and the last layer.

    Three parts stay float32:

    - the front end, whose scale and offset would lose digits;
    - the division of an embedding by its length, whose small bound would become zero;
    - the last layer, else scores would be rounded to steps of 0.0005. It is written as a sum of products, because
      TensorRT-RTX has no float32 matrix product on Turing. Runtimes fuse it with the layer before, so it costs nothing.

    Scales of quantised tensors become float16, too.

    Args:
        model: An exported file: `faces` uint8 -> `quality` float32.

    Returns:
        A new model with the same input and output.

    Raises:
        ModelError: A weight is too large for float16.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    lift_constants(graph)
    kept = _kept_nodes(graph) | _sum_up_last(graph)
    converter = _Converter(graph, value_types(result))
    for node in list(graph.node):
        converter.add(node, TensorProto.FLOAT if node.name in kept else TensorProto.FLOAT16)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(converter.nodes)
    used = {name for node in graph.node for name in node.input}
    graph.initializer.extend(tensor for name, tensor in converter.constants.items() if name in used)
    return result


def _sum_up_last(graph: onnx.GraphProto) -> set[str]:
    """Write a last layer `x w + b` with one output as a sum of products. Return the names of the last layer's nodes."""
    node, constants = graph.node[-1], constants_of(graph)
    settings = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    if node.op_type != "Gemm" or len(node.input) != 3 or not set(node.input[1:]) <= set(constants):
        return {node.name}
    weights = numpy_helper.to_array(constants[node.input[1]])
    row = weights if settings.pop("transB", 0) else weights.T
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0}
    if row.shape[0] != 1 or any(plain.get(name) != value for name, value in settings.items()):
        return {node.name}
    parts = [f"{node.name}_{part}" for part in ("weights", "axis", "products", "sum")]
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(row), parts[0]))
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), parts[1]))
    last = [
        helper.make_node("Mul", [node.input[0], parts[0]], [parts[2]], parts[2]),
        helper.make_node("ReduceSum", [parts[2], parts[1]], [parts[3]], parts[3], keepdims=1),
        helper.make_node("Add", [parts[3], node.input[2]], list(node.output), f"{node.name}_bias"),
    ]
    del graph.node[-1]
    graph.node.extend(last)
    return {part.name for part in last}


def _kept_nodes(graph: onnx.GraphProto) -> set[str]:
    """Return the names of the nodes of the front end and of the division by the length, which stay float32."""
    kept: set[str] = set()
    inside: set[str] = set()
    for node in graph.node:
        normalising = node.op_type == _NORM or bool(inside.intersection(node.input))
        if normalising or node.name.startswith(FRONT):
            kept.add(node.name)
        if normalising and node.op_type != _NORM_END:
            inside.update(node.output)
    return kept


class _Converter:
    """Collects the nodes and constants of the new graph, with a cast wherever two types meet."""

    def __init__(self, graph: onnx.GraphProto, types: dict[str, int]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self._types = types
        self._now: dict[str, int] = {}

    def add(self, node: onnx.NodeProto, kind: int) -> None:
        """Add a node that computes in an element type."""
        for index, name in enumerate(node.input):
            if self._types.get(name) == TensorProto.FLOAT:
                node.input[index] = self._constant(name, kind) if name in self.constants else self._value(name, kind)
        if node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT:
            node.attribute[0].i = kind
        self._now |= {name: kind for name in node.output if self._types.get(name) == TensorProto.FLOAT}
        self.nodes.append(node)

    def _value(self, name: str, kind: int) -> str:
        if self._now.get(name, TensorProto.FLOAT) == kind:
            return name
        cast = f"{name}_{'half' if kind == TensorProto.FLOAT16 else 'float'}"
        if cast not in self._now:
            self._now[cast] = kind
            self.nodes.append(helper.make_node("Cast", [name], [cast], f"cast_{cast}", to=kind))
        return cast

    def _constant(self, name: str, kind: int) -> str:
        if kind == TensorProto.FLOAT:
            return name
        copy = f"{name}_half"
        if copy not in self.constants:
            values = numpy_helper.to_array(self.constants[name])
            with np.errstate(over="ignore"):
                rounded = values.astype(np.float16)
            if not np.array_equal(np.isfinite(rounded), np.isfinite(values)):
                raise ModelError(
                    f"{name} holds {np.abs(values).max():.3g}, more than float16 can hold; export with --precision fp32"
                )
            self.constants[copy] = numpy_helper.from_array(rounded, copy)
        return copy
