"""Functions that all readers and writers of graphs share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

from sdk.errors import FiqaError, ModelError


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn every error of the ONNX libraries on an invalid graph into a `ModelError`. They raise nearly every class.

    Raises:
        ModelError: The graph cannot be read.
    """
    try:
        yield
    except FiqaError:
        raise
    except Exception as error:
        words = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"{path} holds a graph that is not valid ({words}); export the model again") from error


def lift_constants(graph: onnx.GraphProto) -> None:
    """Turn Constant nodes into initialisers, and give every node a name."""
    nodes = []
    for index, node in enumerate(graph.node):
        value = node.attribute[0] if node.op_type == "Constant" else None
        if value is not None and value.name == "value":
            tensor = graph.initializer.add()
            tensor.CopyFrom(value.t)
            tensor.name = node.output[0]
        else:
            node.name = node.name or f"{node.op_type}_{index}"
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def value_types(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element type of every value and constant of a graph."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        types[value.name] = value.type.tensor_type.elem_type
    return types


def constants_of(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Return the initialisers of a graph by name."""
    return {tensor.name: tensor for tensor in graph.initializer}
