"""fp16 and int8: what is in the graph, and what it costs."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.exported import Exported
from export.formats.onnx_inspection import layer_precisions
from export.graph.float16 import to_float16
from export.graph.int8 import quantise
from export.graph.ranges import BINS, Histogram, histograms
from export.graph.rewrite import value_types
from export.proof.crops import calibration_faces, verification_faces
from sdk import InputError, ModelError
from sdk.models.catalog import catalog
from sdk.proof.verify import compare_scores, find_failures


@pytest.fixture(scope="module")
def nano() -> onnx.ModelProto:
    """The packaged network: trained weights."""
    return onnx.load(catalog()["fiqa-nano"].embedded)


@pytest.fixture(scope="module")
def tiny(exported: dict[str, Exported]) -> onnx.ModelProto:
    """An eDifFIQA(T): PReLU, and a normalised embedding."""
    return onnx.load(exported[".pth"].path)


def scores(model: onnx.ModelProto, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"faces": faces})[0].reshape(-1)


def layers(model: onnx.ModelProto) -> dict[str, int]:
    onnx.checker.check_model(model, full_check=True)
    return dict(layer_precisions(model.graph, value_types(model)))


@pytest.mark.parametrize("network", ["nano", "tiny"])
def test_half(network: str, request: pytest.FixtureRequest, faces: NDArray[np.uint8]) -> None:
    model = request.getfixturevalue(network)
    half = to_float16(model)
    # All layers but the last, which is a sum of products in fp32.
    assert layers(half) == {"fp16": sum(layers(model).values()) - 1}
    assert half.SerializeToString(deterministic=True) == to_float16(model).SerializeToString(deterministic=True)
    found = compare_scores(scores(half, faces), scores(model, faces))
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


def test_int8_is_as_a_strongly_typed_network_wants_it(nano: onnx.ModelProto, faces: NDArray[np.uint8]) -> None:
    quantised = quantise(nano, faces)
    model, graph = quantised.model, quantised.model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    depthwise = 17
    assert layers(model) == {"int8": len(quantised.layers), "fp32": depthwise + 1}
    assert len(quantised.layers) == 51 + 2 - depthwise - 1
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
    expected = scores(nano, faces)
    assert find_failures(compare_scores(scores(quantised, faces), expected), "int8") == ()
    mixed = to_float16(quantised)
    assert set(layers(mixed)) == {"int8", "fp16"}
    assert find_failures(compare_scores(scores(mixed, faces), expected), "int8+fp16") == ()
    again = quantise(nano, calibration_faces()).model
    assert again.SerializeToString(deterministic=True) == quantised.SerializeToString(deterministic=True)


def test_reach() -> None:
    counts = np.zeros(BINS, np.int64)
    counts[: BINS // 2] = 1000
    counts[-1] = 1
    found = Histogram(counts, 8.0)
    assert found.reach("max") == 8
    assert found.reach("99.99") == pytest.approx(4, abs=0.01)
    # One value of a million is not worth half of the steps.
    assert 3.9 < found.reach("mse") < 6
    assert Histogram(np.ones(BINS, np.int64), 8.0).reach("mse") > 7.8


def test_histograms_count_what_the_network_computes(nano: onnx.ModelProto, faces: NDArray[np.uint8]) -> None:
    found = histograms(nano, ["normalised", "hardtanh"], faces[:6])
    assert found["hardtanh"].largest == 6
    assert found["hardtanh"].counts.sum() == pytest.approx(6 * 64 * 56 * 56 / 5, rel=1e-3)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    values = (faces[:6, ..., ::-1] / 255 - mean) / std
    assert found["normalised"].largest == pytest.approx(np.abs(values).max(), rel=1e-5)


def test_calibration_faces(tmp_path: Path, faces: NDArray[np.uint8]) -> None:
    packaged = calibration_faces()
    assert packaged.shape == (58, 112, 112, 3)
    seen = {face.tobytes() for face in verification_faces()[2:]}
    assert not seen & {face.tobytes() for face in packaged}
    with pytest.raises(InputError, match=r"no folder .*; give --calibration a folder"):
        calibration_faces(tmp_path / "none")
    (tmp_path / "note.txt").write_text("no face")
    with pytest.raises(InputError, match=r"holds 0 faces, wanted at least 16, .* give --calibration a folder"):
        calibration_faces(tmp_path)
    for index, face in enumerate(faces):
        cv2.imwrite(str(tmp_path / f"{index:02}.png"), face)
    own = calibration_faces(tmp_path)
    np.testing.assert_array_equal(own[: len(faces)], faces)
    assert own.shape == (2 * len(faces), 112, 112, 3)
    assert all(np.any(copy != face) for copy, face in zip(own[len(faces) :], faces, strict=True))
