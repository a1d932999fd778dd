"""ONNX files: which may be loaded, and where their card is from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from sdk import ModelError
from sdk.models.loading import load_model
from sdk.onnx_bytes.onnx_file import check_onnx, read_metadata
from sdk.onnx_bytes.protobuf import read_fields, read_message, read_numbers, write_field
from tests.support.tiny_models import tiny_card, tiny_model


def external(model: onnx.ModelProto) -> None:
    external_data_helper.set_external_data(model.graph.initializer[2], "weights.bin")


def external_in_attribute(model: onnx.ModelProto) -> None:
    constant = next(node for node in model.graph.node if node.op_type == "Constant")
    external_data_helper.set_external_data(constant.attribute[0].t, "/etc/passwd")


def external_in_subgraph(model: onnx.ModelProto) -> None:
    value = numpy_helper.from_array(np.zeros(1, np.float32), "inside")
    external_data_helper.set_external_data(value, "weights.bin")
    branch = helper.make_graph(
        [], "branch", [], [helper.make_tensor_value_info("inside", TensorProto.FLOAT, [1])], [value]
    )
    model.graph.node.append(helper.make_node("If", ["one"], ["chosen"], then_branch=branch, else_branch=branch))


def external_by_location(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def custom_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Evil", ["quality"], ["other"], domain="com.example"))


def function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    model.functions.append(helper.make_function("local", "F", ["x"], ["y"], [node], [helper.make_opsetid("", 17)]))


def no_graph(model: onnx.ModelProto) -> None:
    model.ClearField("graph")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external, "other files"),
        (external_in_attribute, "other files"),
        (external_in_subgraph, "other files"),
        (external_by_location, "other files"),
        (custom_operator, r"custom operator com\.example\.Evil"),
        (function, "functions of its own"),
        (no_graph, "no graph"),
    ],
)
def test_refused(change: Callable[[onnx.ModelProto], None], message: str, tmp_path: Path) -> None:
    model = tiny_model(tiny_card())
    change(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=rf"model\.onnx: .*{message}"):
        load_model(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.99])
def test_truncated(share: float) -> None:
    data = tiny_model(tiny_card()).SerializeToString()
    with pytest.raises(ModelError, match="ONNX"):
        check_onnx(data[: int(share * len(data))])


@pytest.mark.parametrize("data", [b"hello, this is text", b"\x00" * 50, b"\xff" * 50, bytes(range(256))])
def test_other_files(data: bytes) -> None:
    with pytest.raises(ModelError, match="ONNX"):
        check_onnx(data)


def test_standard_models_pass() -> None:
    model = tiny_model(tiny_card())
    check_onnx(model.SerializeToString())
    assert read_metadata(model.SerializeToString()) == {"fiqa_card": model.metadata_props[0].value}


def test_card_of_the_file(tiny_path: Path) -> None:
    assert load_model(tiny_path).card == tiny_card()
    assert load_model(str(tiny_path)).card == tiny_card()


def test_given_card_wins(tiny_path: Path) -> None:
    assert load_model(tiny_path, tiny_card(notes="mine")).card.notes == "mine"


def test_file_without_a_card(tmp_path: Path) -> None:
    onnx.save(tiny_model(), tmp_path / "bare.onnx")
    with pytest.raises(ModelError, match=r"bare\.onnx carries no card"):
        load_model(tmp_path / "bare.onnx")
    assert load_model(tmp_path / "bare.onnx", tiny_card()).card == tiny_card()


@pytest.mark.parametrize("card", ["not JSON", "[1]", '{"name": "x", "colour": "green"}', "{}"])
def test_damaged_card(card: str, tmp_path: Path) -> None:
    model = tiny_model()
    helper.set_model_props(model, {"fiqa_card": card})
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=r"model\.onnx: a model card"):
        load_model(tmp_path / "model.onnx")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"missing\.onnx cannot be read: No such file"):
        load_model(tmp_path / "missing.onnx")


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31, 2**63 - 1])
def test_numbers_there_and_back(value: int) -> None:
    assert read_numbers(write_field(5, value), 5) == [value]


def test_packed_numbers() -> None:
    assert read_numbers(write_field(1, b"\x01\xac\x02\x03"), 1) == [1, 300, 3]


def test_fields_agree_with_the_onnx_package() -> None:
    model = tiny_model(tiny_card())
    data = model.SerializeToString()
    assert b"".join(field.raw for field in read_fields(data)) == data
    (graph,) = read_message(data)[7]
    assert [bytes(node) for node in read_message(graph)[1]] == [n.SerializeToString() for n in model.graph.node]
