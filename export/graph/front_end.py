"""Let a float NCHW network take what cameras give: uint8, BGR, NHWC, any batch.

The normalisation and the change of layout become nodes. The change of colour order costs nothing: it is folded into
the first convolution. The mean cannot be folded: the convolution pads with zeros after it was subtracted.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graph.ends import End, Ends, finish_graph, rename_value
from sdk.alignment import CROP_SIZE
from sdk.calibrating.embedding_session import EMBEDDING
from sdk.errors import ModelError

INPUT = "faces"
OUTPUT = "quality"
QUALITY_ENDS = Ends(
    End(INPUT, TensorProto.UINT8, ("batch", CROP_SIZE, CROP_SIZE, 3)), End(OUTPUT, TensorProto.FLOAT, ("batch", 1))
)
"""Input and output of every exported quality network."""


def embedding_ends(length: int) -> Ends:
    """Return the input and the outputs of a file that gives embeddings of a length, too."""
    return QUALITY_ENDS._replace(second=End(EMBEDDING, TensorProto.FLOAT, ("batch", length)))


FRONT = "front_"
"""Prefix of the names of the nodes of the front end."""

_NORMALISED = "normalised"
_FLIP = "bgr_to_rgb"


def add_front_end(
    network: onnx.ModelProto, mean: Sequence[float], std: Sequence[float], ends: Ends = QUALITY_ENDS
) -> onnx.ModelProto:
    """Put normalisation, layout and colour order into the graph.

    Args:
        network: One input, float32 (N, 3, 112, 112), normalised RGB; the outputs of `ends` in their order.
        mean: Mean of each channel of RGB in [0, 1], which the graph subtracts.
        std: Deviation of each channel, by which the graph divides.
        ends: See `QUALITY_ENDS` and `embedding_ends`.

    Returns:
        A new model: `faces` uint8 BGR (batch, 112, 112, 3) -> `quality` float32 (batch, 1), IR version 9.

    Raises:
        ModelError: The network has several inputs, or other outputs.
    """
    model = onnx.ModelProto()
    model.CopyFrom(network)
    graph = model.graph
    if len(graph.input) != 1 or len(graph.output) != len(ends.outputs):
        raise ModelError(
            f"the network has {len(graph.input)} inputs and {len(graph.output)} outputs, wanted one input and "
            f"{len(ends.outputs)}: faces in, quality out; export the quality network alone"
        )
    rename_value(graph, graph.input[0].name, _NORMALISED)
    for found, wanted in zip(list(graph.output), ends.outputs, strict=True):
        rename_value(graph, found.name, wanted.name)
    finish_graph(model, [*_front_nodes(graph, mean, std), *graph.node], ends)
    return model


def _front_nodes(graph: onnx.GraphProto, mean: Sequence[float], std: Sequence[float]) -> list[onnx.NodeProto]:
    """Return the nodes from `faces` to `normalised`, and add their constants to the graph."""
    folded = _fold_colour_order(graph)
    order = [2, 1, 0] if folded else [0, 1, 2]
    deviation = np.asarray(std, np.float64)[order]
    scale = 1 / (255 * deviation)
    offset = -np.asarray(mean, np.float64)[order] / deviation
    for name, values in (("input_scale", scale), ("input_offset", offset)):
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32).reshape(1, 3, 1, 1), name))
    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Cast", [], {"to": TensorProto.FLOAT}),
        ("Transpose", [], {"perm": [0, 3, 1, 2]}),
    ]
    if not folded:
        graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0], np.int64), _FLIP))
        steps.append(("Gather", [_FLIP], {"axis": 1}))
    steps += [("Mul", ["input_scale"], {}), ("Add", ["input_offset"], {})]
    nodes = []
    value = INPUT
    for index, (operator, constants, attributes) in enumerate(steps):
        result = _NORMALISED if index == len(steps) - 1 else f"{FRONT}{operator.lower()}"
        nodes.append(helper.make_node(operator, [value, *constants], [result], f"{FRONT}{operator}", **attributes))
        value = result
    return nodes


def _fold_colour_order(graph: onnx.GraphProto) -> bool:
    """Let the only reader of the normalised faces, a convolution, read BGR. Return False if there is no such reader."""
    readers = [node for node in graph.node if _NORMALISED in node.input]
    weights = {tensor.name: tensor for tensor in graph.initializer}
    if len(readers) != 1 or readers[0].op_type != "Conv" or readers[0].input[1] not in weights:
        return False
    tensor = weights[readers[0].input[1]]
    shared = sum(list(node.input).count(tensor.name) for node in graph.node) > 1
    values = numpy_helper.to_array(tensor)
    if shared or values.shape[1] != 3:
        return False
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values[:, ::-1]), tensor.name))
    return True
