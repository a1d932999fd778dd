"""int8: what is in the graph, and what it costs."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from export.graph.float16 import to_float16
from export.graph.int8 import quantise
from export.proof.crops import calibration_faces
from sdk.proof.verify import compare_scores, find_failures
from tests.support.exports import graph_layers, graph_scores


def test_int8_is_as_a_strongly_typed_network_wants_it(nano: onnx.ModelProto, faces: NDArray[np.uint8]) -> None:
    quantised = quantise(nano, faces)
    model, graph = quantised.model, quantised.model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    depthwise = 17
    assert graph_layers(model) == {"int8": len(quantised.layers), "fp32": depthwise + 1}
    assert len(quantised.layers) == 50 + 2 - depthwise - 1
    for node in graph.node:
        if node.op_type == "QuantizeLinear":  # symmetric, as a whole, never of a layer's own output
            assert makers[node.input[0]].op_type not in ("Gemm", "QuantizeLinear")
            assert numpy_helper.to_array(constants[node.input[1]]).shape == ()
            assert constants[node.input[2]].data_type == TensorProto.INT8
        if node.op_type == "DequantizeLinear":
            assert not numpy_helper.to_array(constants[node.input[2]]).any()
            assert node.input[0] not in constants or constants[node.input[0]].data_type == TensorProto.INT8
        if node.op_type in ("Conv", "Gemm") and len(node.input) > 2:
            assert constants[node.input[2]].data_type == TensorProto.FLOAT  # no quantised bias
    conv = next(node for node in graph.node if node.name == quantised.layers[0])
    weight = makers[conv.input[1]]
    values, scales = (numpy_helper.to_array(constants[name]) for name in weight.input[:2])
    assert values.dtype == np.int8
    assert np.abs(values).max() == 127
    original = numpy_helper.to_array(
        {t.name: t for t in nano.graph.initializer}[weight.output[0].removesuffix("_dequantised")]
    )
    assert np.abs(values * scales.reshape(-1, 1, 1, 1) - original).max() <= scales.max() * 0.51


def test_trained_weights_keep_their_scores(nano: onnx.ModelProto, faces: NDArray[np.uint8]) -> None:
    """On other faces than the ranges were measured on, though of the same person."""
    quantised = quantise(nano, calibration_faces()).model
    expected = graph_scores(nano, faces)
    assert find_failures(compare_scores(graph_scores(quantised, faces), expected), "int8") == ()
    mixed = to_float16(quantised)
    assert set(graph_layers(mixed)) == {"int8", "fp16"}
    assert find_failures(compare_scores(graph_scores(mixed, faces), expected), "int8+fp16") == ()
    again = quantise(nano, calibration_faces()).model
    assert again.SerializeToString(deterministic=True) == quantised.SerializeToString(deterministic=True)
