"""Let a network whose strides divide its input take images of any size."""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.graph.ends import Ends, finish_graph, rename_value

_BORDERED = "bordered"


def add_border(network: onnx.ModelProto, multiple: int, ends: Ends) -> onnx.ModelProto:
    """Put a black border into the graph: on the right and below, up to a multiple of the largest stride.

    Args:
        network: Takes uint8 BGR (N, H, W, 3); H and W are multiples. It is changed.
        multiple: The multiple, in pixels.
        ends: Input and output of the file.

    Returns:
        The network, which now takes any H and W.
    """
    graph = network.graph
    rename_value(graph, ends.source.name, _BORDERED)
    constants = {"per": np.array(multiple), "sides": np.array([0, 1, 1, 0]), "before": np.zeros(4)}
    graph.initializer.extend(numpy_helper.from_array(value.astype(np.int64), name) for name, value in constants.items())
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Shape", [ends.source.name], "shape", {}),
        ("Neg", ["shape"], "less", {}),
        ("Mod", ["less", "per"], "missing", {}),  # -side modulo the multiple is what the side lacks
        ("Mul", ["missing", "sides"], "after", {}),
        ("Concat", ["before", "after"], "border", {"axis": 0}),
        ("Pad", [ends.source.name, "border"], _BORDERED, {}),
    ]
    nodes = [helper.make_node(op, inputs, [result], f"front_{op}", **more) for op, inputs, result, more in steps]
    finish_graph(network, [*nodes, *graph.node], ends)
    return network
