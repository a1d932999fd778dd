"""Step 2: let a float NCHW network take what cameras give: uint8, BGR, NHWC, any batch.

The normalisation and the change of layout become nodes. The change of colour order costs nothing: it is folded into
the first convolution. The mean cannot be folded too, for the convolution pads with zeros after it was subtracted.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sdk.alignment import CROP_SIZE
from sdk.errors import ModelError

INPUT = "faces"
OUTPUT = "quality"
OPSET = 20
IR_VERSION = 9
FRONT = "front_"
"""What the names of the nodes of the front end begin with."""
_NORMALISED = "normalised"
_FLIP = "bgr_to_rgb"


def take_images(core: onnx.ModelProto, mean: Sequence[float], std: Sequence[float]) -> onnx.ModelProto:
    """Put normalisation, layout and colour order into the graph.

    Args:
        core: One input, float32 (N, 3, 112, 112), normalised RGB; one output, float32 (N, 1).
        mean: Subtracted from RGB in [0, 1].
        std: Divides what is left.

    Returns:
        A new model: `faces` uint8 BGR (batch, 112, 112, 3) -> `quality` float32 (batch, 1), IR version 9.

    Raises:
        ModelError: The network has several inputs or outputs.
    """
    model = onnx.ModelProto()
    model.CopyFrom(core)
    graph = model.graph
    if len(graph.input) != 1 or len(graph.output) != 1:
        raise ModelError(
            f"the network has {len(graph.input)} inputs and {len(graph.output)} outputs, wanted one of each: "
            "faces in, quality out; export the quality network alone"
        )
    _rename(graph, graph.input[0].name, _NORMALISED)
    _rename(graph, graph.output[0].name, OUTPUT)
    nodes = _front_nodes(graph, mean, std) + list(graph.node)
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    images: list[str | int | None] = ["batch", CROP_SIZE, CROP_SIZE, 3]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, images))
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", 1]))
    model.ir_version = IR_VERSION
    _tidy(model)
    return model


def _front_nodes(graph: onnx.GraphProto, mean: Sequence[float], std: Sequence[float]) -> list[onnx.NodeProto]:
    """The nodes from `faces` to `normalised`; their constants are added to the graph."""
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


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename one value wherever a node reads or writes it."""
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def _fold_colour_order(graph: onnx.GraphProto) -> bool:
    """Make the only reader of the normalised faces, a convolution, read BGR; False where there is no such reader."""
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


def _tidy(model: onnx.ModelProto) -> None:
    """Drop what no runtime needs: traces of the exporter, paths of source files, shapes of a former batch size."""
    graph = model.graph
    del graph.value_info[:], graph.metadata_props[:], model.metadata_props[:]
    graph.name, graph.doc_string, model.doc_string = "fiqa", "", ""
    model.producer_name, model.producer_version = "fiqa-export", ""
    for part in (*graph.node, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
