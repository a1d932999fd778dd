"""fp16: what is in the graph, and what it costs."""

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.graph.float16 import to_float16
from export.graph.rewrite import value_types
from sdk import ModelError
from sdk.proof.verify import compare_scores
from tests.support.exports import graph_layers, graph_scores


@pytest.mark.parametrize("network", ["nano", "tiny"])
def test_half(network: str, request: pytest.FixtureRequest, faces: NDArray[np.uint8]) -> None:
    model = request.getfixturevalue(network)
    half = to_float16(model)
    # All layers but the last, which is a sum of products in fp32.
    assert graph_layers(half) == {"fp16": sum(graph_layers(model).values()) - 1}
    assert half.SerializeToString(deterministic=True) == to_float16(model).SerializeToString(deterministic=True)
    found = compare_scores(graph_scores(half, faces), graph_scores(model, faces))
    assert 0 < found.largest < 2e-3
    types, makers = value_types(half), {name: node for node in half.graph.node for name in node.output}
    assert [types[value.name] for value in (*half.graph.input, *half.graph.output)] == [
        TensorProto.UINT8,
        TensorProto.FLOAT,
    ]
    assert types["normalised"] == TensorProto.FLOAT
    if network == "tiny":  # the bound of the length, 1e-6, would be a zero of fp16's normal numbers
        (length,) = [node for node in half.graph.node if node.op_type == "ReduceL2"]
        (bound,) = [node for node in half.graph.node if length.output[0] in node.input]
        (quotient,) = [node for node in half.graph.node if bound.output[0] in node.input]
        assert [node.op_type for node in (bound, quotient)] == ["Clip", "Div"]
        assert {types[node.output[0]] for node in (length, bound, quotient)} == {TensorProto.FLOAT}
        assert makers[length.input[0]].op_type == "Cast"


def test_weights_beyond_half() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "large"], ["y"], "mul"),
        helper.make_node("Relu", ["y"], ["quality"], "relu"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "quality")]
    large = numpy_helper.from_array(np.array([70000], np.float32), "large")
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [large])
    with pytest.raises(ModelError, match=r"large holds 7e.04, more than float16 can"):
        to_float16(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9))
