"""Give the graph of a face-recognition model its quality as an output: the mean length of some of its values."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graph.front_end import OUTPUT
from export.graph.rewrite import readable
from export.sources.published_file import upgrade
from sdk.alignment import CROP_SIZE
from sdk.calibrating.embedding_session import EMBEDDING
from sdk.errors import ModelError
from sdk.models.card import InputSpec
from sdk.models.loading import Model

_WANTED = InputSpec(CROP_SIZE, CROP_SIZE, "RGB", "NCHW", "float32")


def with_quality(file: Model, spec: InputSpec, values: Sequence[str]) -> onnx.ModelProto:
    """Return the graph of a file with the outputs `quality` (N, 1) and `embedding` (N, D), opset 20, any batch.

    Args:
        file: See `sdk.calibrating.embedding_session.read_recognition`.
        spec: Its input.
        values: Names of the values whose lengths are the quality, "" for the embedding.

    Raises:
        ModelError: It takes something else than RGB faces (N, 3, 112, 112), or cannot be brought to opset 20.
    """
    found = (spec.colour, spec.layout, spec.dtype, spec.height, spec.width)
    wanted = (_WANTED.colour, _WANTED.layout, _WANTED.dtype, CROP_SIZE, CROP_SIZE)
    if found != wanted:
        taken, meant = (" ".join(map(str, parts)) for parts in (found, wanted))
        raise ModelError(f"{file.path} takes faces as {taken}, wanted {meant}; give a network of torch instead")
    with readable(file.path):
        published = onnx.load_from_string(file.data)
        outputs = [output.name for output in published.graph.output]
        embedding = EMBEDDING if EMBEDDING in outputs else outputs[0]
        model = upgrade(published)
        graph = model.graph
        names = [value or embedding for value in values]
        known = {name for node in graph.node for name in node.output}
        if missing := [name for name in names if name not in known]:
            raise ModelError(f"{file.path} loses the value {missing[0]} at opset 20; take another layer, or no layers")
        graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), "quality_axis"))
        lengths = [_length(graph, name, index) for index, name in enumerate(names)]
        share = np.array(1 / len(names), np.float32)
        graph.initializer.append(numpy_helper.from_array(share, "quality_share"))
        graph.node.append(helper.make_node("Sum", lengths, ["quality_sum"], "quality_sum"))
        graph.node.append(helper.make_node("Mul", ["quality_sum", "quality_share"], [OUTPUT], "quality_mean"))
        del graph.output[:]
        graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, None))
        graph.output.append(helper.make_tensor_value_info(embedding, TensorProto.FLOAT, None))
    return model


def _length(graph: onnx.GraphProto, name: str, index: int) -> str:
    """Add the length of a value: first that of its rows, for a sum of 200,000 squares loses four digits in float32."""
    rows, flat, length = (f"quality_{part}{index}" for part in ("rows", "flat", "length"))
    graph.node.append(helper.make_node("ReduceL2", [name, "quality_axis"], [rows], rows, keepdims=1))
    graph.node.append(helper.make_node("Flatten", [rows], [flat], flat, axis=1))
    graph.node.append(helper.make_node("ReduceL2", [flat, "quality_axis"], [length], length, keepdims=1))
    return length
