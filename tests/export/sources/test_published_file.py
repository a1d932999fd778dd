"""Published files: what is taken, what is refused, and front ends that cannot be folded."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.graph.front_end import add_front_end
from export.sources.checkpoint import normalised
from export.sources.published_file import read_published, upgrade
from sdk import ModelError

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def linear_model(
    *,
    first: str = "Conv",
    kind: int = TensorProto.FLOAT,
    shape: tuple[object, ...] = (1, 3, 112, 112),
    outputs: tuple[object, ...] = (1, 1),
    domain: str = "",
    opset: int = 11,
) -> onnx.ModelProto:
    """A quality network of one layer, at first sight like a published one: weights are listed as inputs too."""
    draw = np.random.default_rng(3)
    weights = {
        "w": draw.standard_normal((4, 3, 112, 112)).astype(np.float32) / 100,
        "v": draw.standard_normal((4, 1)).astype(np.float32),
        "shape": np.array([1, 4], np.int64),
        "gain": np.array([0.5, 1, 2], np.float32).reshape(3, 1, 1),
    }
    nodes = [
        *([helper.make_node("Mul", ["x", "gain"], ["gained"])] if first == "Mul" else []),
        helper.make_node("Conv", ["gained" if first == "Mul" else "x", "w"], ["conv"]),
        helper.make_node("Reshape", ["conv", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "v"], ["y"], domain=domain),
    ]
    inputs = [helper.make_tensor_value_info("x", kind, shape)]
    inputs += [helper.make_tensor_value_info(name, numpy_helper.from_array(value).data_type, value.shape)
               for name, value in weights.items()]  # fmt: skip
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, outputs)
    graph = helper.make_graph(nodes, "linear", inputs, [output], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=6)


def scores(model: onnx.ModelProto, batch: NDArray[np.generic]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: batch})[0]


@pytest.mark.parametrize("first", ["Conv", "Mul"])
@pytest.mark.parametrize("batch", [1, 5])
def test_front_end_and_upgrade_keep_the_scores(first: str, batch: int, tmp_path: Path) -> None:
    published = linear_model(first=first)
    onnx.save(published, tmp_path / "published.onnx")
    faces = np.random.default_rng(0).integers(0, 256, (batch, 112, 112, 3), np.uint8)
    expected = np.concatenate([scores(published, face[None]) for face in normalised(faces, MEAN, STD)])
    core = upgrade(read_published(tmp_path / "published.onnx"))
    assert core.opset_import[0].version == 20
    model = add_front_end(core, MEAN, STD)
    np.testing.assert_allclose(scores(model, faces), expected, rtol=1e-4, atol=1e-4)
    assert [value.name for value in model.graph.input] == ["faces"]
    assert ("Gather" in {node.op_type for node in model.graph.node}) == (first == "Mul")


def with_external_data(model: onnx.ModelProto) -> onnx.ModelProto:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    helper_entry = model.graph.initializer[0].external_data.add()
    helper_entry.key, helper_entry.value = "location", "elsewhere.bin"
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: linear_model(domain="com.example"), "operators of com.example"),
        (lambda: with_external_data(linear_model()), "keeps weights in other files"),
        (lambda: linear_model(kind=TensorProto.UINT8, shape=(1, 112, 112, 3)), r"x: uint8 \(1, 112, 112, 3\)"),
        (lambda: linear_model(shape=(1, 3, 160, 160)), r"wanted one float input \(N, 3, 112, 112\)"),
        (lambda: linear_model(outputs=(1, 512)), r"y: float \(1, 512\), wanted one output"),
    ],
)
def test_other_files_are_refused(make: Callable[[], onnx.ModelProto], message: str, tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(make().SerializeToString())
    with pytest.raises(ModelError, match=message):
        read_published(path)


@pytest.mark.parametrize("content", [b"", b"not an ONNX file", b"\x08"])
def test_damaged_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"damaged\.onnx"):
        read_published(path)
