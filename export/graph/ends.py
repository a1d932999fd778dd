"""Input and output of an exported file, and all of a graph that is no network: names, versions, traces of tools."""

from collections.abc import Sequence
from typing import NamedTuple

import onnx
from onnx import helper

OPSET = 20
IR_VERSION = 9


class End(NamedTuple):
    """An input or an output.

    Attributes:
        name: Its name.
        element: Its element type, of `onnx.TensorProto`.
        shape: Its sizes; text for one that is free.
    """

    name: str
    element: int
    shape: tuple[str | int, ...]


class Ends(NamedTuple):
    """The one input of a file, its output, and an output beside that."""

    source: End
    output: End
    second: End | None = None

    @property
    def outputs(self) -> tuple[End, ...]:
        """All outputs."""
        return (self.output,) if self.second is None else (self.output, self.second)


def read_end(value: onnx.ValueInfoProto) -> End:
    """Read an input or an output of a graph."""
    tensor = value.type.tensor_type
    return End(value.name, tensor.elem_type, tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim))


def finish_graph(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], ends: Ends) -> None:
    """Give a graph its nodes, its ends and IR version 9, in place, and remove what no runtime needs.

    That is: traces of the exporter, paths of source files, and shapes of a former batch size.
    """
    graph = model.graph
    nodes = list(nodes)
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    del graph.metadata_props[:], model.metadata_props[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info(*ends.source))
    graph.output.extend(helper.make_tensor_value_info(*output) for output in ends.outputs)
    graph.name, graph.doc_string, model.doc_string = "fiqa", "", ""
    model.producer_name, model.producer_version, model.ir_version = "fiqa-export", "", IR_VERSION
    for part in (*graph.node, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")


def rename_value(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a value wherever a node reads or writes it."""
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
