"""What an engine's report says, and when it is not what was asked for."""

import onnx
import pytest
from onnx import TensorProto, helper

from export.engines.layer_report import Layer, check_precisions, products, read_report, summary
from sdk import ModelError

REPORT = """Layers:
Name: call_0, LayerType: shape_call, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 0, Metadata: 
Name: cast_1, LayerType: kgen, Inputs: [ { Name: faces, Dimensions: [-1,112,112,3], Datatype: UInt8, Format: (Linear) Row major linear format }], Constants: [ { Name: c, Dimensions: [1,3,1,1], Datatype: Float, Format: (NHWC) Channel major format }], Outputs: [ { Name: x, Dimensions: [-1,4,112,112], Datatype: Half, Format: (NHWC) Channel major format }], TacticName: t, StreamId: 0, Metadata: [ONNX Layer: front_Cast][ONNX Layer: conv1]
Name: conv1_2, LayerType: correlation, Inputs: [ { Name: x, Dimensions: [-1,4,112,112], Datatype: Half, Format: (NHWC) Channel major format }], Constants: [ { Name: w, Dimensions: [64,4,3,3], Datatype: Float, Format: (Linear) Row major linear format }], Outputs: [ { Name: y, Dimensions: [-1,64,56,56], Datatype: Half, Format: (NHWC) Channel major format }], TacticName: t, StreamId: 0, Metadata: [ONNX Layer: conv1]
Name: conv2 + relu, LayerType: CaskConvolution, Inputs: [ { Name: y, Location: Device, Dimensions: [8,64,56,56], Format/Datatype: Thirty-two wide channel vectorized row major Int8 format }], Outputs: [ { Name: z, Location: Device, Dimensions: [8,64,56,56], Format/Datatype: Row major linear FP32 }], ParameterType: Convolution, Weights: {"Type": "Int8", "Count": 9408}, Metadata: [ONNX Layer: conv2]

I/O Tensors:
 Name: faces, IOMode: Input, DataType: UInt8, Dimensions: [-1,112,112,3], Location: Device
"""  # noqa: E501, W291  # as the libraries write it; the last layer as TensorRT 10's documents show it


def layer(node: str, *inputs: str) -> Layer:
    return Layer("x", "gemm", (node,), inputs, ("fp32",))


def test_a_report() -> None:
    assert read_report(REPORT) == (
        Layer("call_0", "shape_call", (), (), ()),
        Layer("cast_1", "kgen", ("front_Cast", "conv1"), ("uint8",), ("fp16",)),
        Layer("conv1_2", "correlation", ("conv1",), ("fp16",), ("fp16",)),
        Layer("conv2 + relu", "CaskConvolution", ("conv2",), ("int8",), ("fp32",)),
    )
    assert summary(read_report(REPORT)) == {"uint8": 1, "fp16": 1, "int8": 1}
    check_precisions(read_report(REPORT), {"conv1": "fp16"}, "fp16")


@pytest.mark.parametrize(
    ("wanted", "layers", "precision", "words"),
    [
        ({"a": "fp16"}, [layer("a", "fp32")], "fp16", "is not fp16: 1 of 1 .*a: fp16 became fp32"),
        ({"a": "fp16"}, [layer("a", "fp16"), layer("a", "fp32")], "fp16", "a: fp16 became fp16/fp32"),
        (
            {"a": "int8"},
            [layer("a", "fp16")],
            "int8+fp16",
            r"a: int8 became fp16.*target does not run int8\+fp16",
        ),
        ({"a": "fp16"}, [layer("b", "fp16")], "fp16", "a: fp16 became nothing"),
        ({"a": "fp32"}, [layer("a", "fp32")], "fp16", r"products in fp32 \(1\), wanted fp16; .*--precision fp16"),
        ({"a": "int8", "b": "fp16"}, [], "int8+fp16", r"in int8 \(1\), fp16 \(1\), wanted int8\+fp16"),
        ({"a": "int8", "b": "fp32", "c": "int8"}, [], "int8+fp16", r"int8 \(2\), fp32 \(1\), wanted int8\+fp16"),
        ({"a": "fp32", "b": "fp16"}, [], "fp32", r"fp32 \(1\), fp16 \(1\), wanted fp32"),
        ({}, [], "fp16", "products in nothing, wanted fp16"),
    ],
)
def test_an_engine_that_is_not_what_was_asked_for(
    wanted: dict[str, str], layers: list[Layer], precision: str, words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        check_precisions(layers, wanted, precision)


def test_an_engine_that_is() -> None:
    wanted = {"a": "int8", "b": "int8", "c": "fp16"}
    layers = [layer("a", "int8"), layer("a", "fp32"), layer("b", "int8"), layer("c", "fp16")]
    check_precisions(layers, wanted, "int8+fp16")
    # The last product gives the score.
    check_precisions([*layers, layer("d", "fp32")], {**wanted, "d": "fp32"}, "int8+fp16")


def test_products_of_a_graph() -> None:
    def tensor(name: str, kind: int, *shape: int) -> onnx.TensorProto:
        return helper.make_tensor(name, kind, shape, [0] * int(shape[0] * shape[-1]))

    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "scale"], ["d"], "d"),
        helper.make_node("MatMul", ["d", "w32"], ["a"], "first"),
        helper.make_node("MatMul", ["a", "w32"], ["b"], "second"),
        helper.make_node("Cast", ["b"], ["c"], "cast", to=TensorProto.FLOAT16),
        helper.make_node("Gemm", ["c", "w16"], ["y"], "third"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    constants = [tensor("w32", TensorProto.FLOAT, 2, 2), tensor("w16", TensorProto.FLOAT16, 2, 2)]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], constants))
    assert products(model.SerializeToString()) == {"first": "int8", "second": "fp32", "third": "fp16"}
    del model.graph.initializer[:]
    with pytest.raises(ModelError, match="MatMul 'second' has weights that are not float32 or float16 constants"):
        products(model.SerializeToString())
