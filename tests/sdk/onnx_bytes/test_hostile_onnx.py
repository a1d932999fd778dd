"""ONNX files that two readers understand differently, or that hide refused parts: the check refuses them, whatever a
runtime would do."""

import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from sdk import ModelError, QualityScorer
from sdk.onnx_bytes.onnx_file import check_onnx, read_metadata
from sdk.onnx_bytes.protobuf import write_field
from tests.support.tiny_models import faces, tiny_card, tiny_model

GOOD = tiny_model(tiny_card())
DATA = GOOD.SerializeToString()
EXTERNAL = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)


def read(data: bytes) -> None:
    """Check the bytes of a file as `load_model` does."""
    check_onnx(data)
    read_metadata(data)


def varint(value: int, length: int = 0) -> bytes:
    """Encode a number in at least `length` bytes."""
    data = bytearray()
    while value > 0x7F or len(data) + 1 < length:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def tagged(number: int, wire: int, content: bytes, length: int = 0) -> bytes:
    """Encode a field whose tag has at least `length` bytes."""
    return varint(number << 3 | wire, length) + content


def with_graph(*more: bytes) -> bytes:
    """Return the good file with more fields in its graph."""
    rest = onnx.ModelProto()
    rest.CopyFrom(GOOD)
    rest.ClearField("graph")
    return rest.SerializeToString() + write_field(7, GOOD.graph.SerializeToString() + b"".join(more))


def with_node(*fields: bytes) -> bytes:
    """Return the good file with one more node, which has these fields."""
    node = helper.make_node("Identity", ["quality"], ["other"]).SerializeToString()
    return with_graph(write_field(1, node + b"".join(fields)))


def nested(depth: int, inner: bytes, number: int = 6) -> bytes:
    """Return a file of nested graphs; the innermost has these fields."""
    graph = inner
    for _ in range(depth):
        graph = write_field(
            1, write_field(4, "If") + write_field(5, write_field(1, "then_branch") + write_field(number, graph))
        )
    return write_field(7, graph)


CUSTOM = write_field(1, write_field(4, "Evil") + write_field(7, "org.example"))
SPARSE = write_field(1, EXTERNAL.SerializeToString())
TEXT = varint(3) + b"bad"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (with_graph(write_field(1, write_field(4, "Loop"))), "may never end"),
        (with_node(varint(7 << 3 | 2 | 1 << 35) + TEXT), "too large"),
        (with_node(tagged(7, 2, TEXT, length=4)), "longer than"),
        (with_node(tagged(7, 2, varint(3, 2) + b"bad")), "longer than"),
        (with_node(write_field(7, "org.example"), write_field(7, "")), "occurs twice"),
        (with_node(tagged(7, 0, varint(1))), "has a wrong type"),
        (with_node(tagged(7, 3, b"") + tagged(7, 4, b"")), "wire type 3"),
        (with_node(tagged(0, 2, TEXT)), "field 0"),
        (with_node(tagged(9, 0, b"\xff" * 9 + b"\x02")), "too large"),
        (with_node(tagged(9, 0, b"\xff" * 10 + b"\x01")), "no ONNX file"),
        (with_node(tagged(7, 2, varint(1 << 31) + b"x")), "too large"),
        (with_node(tagged(7, 2, varint(1 << 30) + b"x")), "truncated"),
        (with_node(write_field(7, "ai.onnx\0.evil")), r"custom operator ai\.onnx\\x00\.evil"),
        (with_node(write_field(7, b"\xff")), "custom operator"),
        (DATA + write_field(7, b""), "occurs twice"),
        (DATA + write_field(7, write_field(1, write_field(7, "org.example"))), "occurs twice"),
        (DATA + write_field(20, write_field(1, CUSTOM)), "custom operator"),
        (DATA + write_field(20, write_field(2, write_field(5, EXTERNAL.SerializeToString()))), "other files"),
        (DATA + write_field(25, write_field(7, b"")), "functions of its own"),
        (DATA + tagged(8, 0, varint(1)), "has a wrong type"),
        (with_graph(write_field(15, SPARSE)), "other files"),
        (with_graph(write_field(15, write_field(2, EXTERNAL.SerializeToString()))), "other files"),
        (with_graph(write_field(5, write_field(8, "w") + write_field(14, 1 << 32))), "other files"),
        (with_graph(write_field(5, write_field(8, "w") + write_field(13, write_field(1, "location")))), "other files"),
        (with_graph(write_field(5, write_field(8, "w") + tagged(14, 2, b"\x01\x01"))), "has a wrong type"),
        (with_node(write_field(5, write_field(20, 2) + write_field(5, EXTERNAL.SerializeToString()))), "other files"),
        (with_node(write_field(5, write_field(20, 7) + write_field(10, EXTERNAL.SerializeToString()))), "other files"),
        (with_node(write_field(5, write_field(22, SPARSE))), "other files"),
        (with_node(write_field(5, write_field(23, SPARSE))), "other files"),
        (with_node(write_field(5, write_field(20, 1) + write_field(6, CUSTOM))), "custom operator"),
        (with_node(write_field(5, write_field(6, b"") + write_field(6, CUSTOM))), "occurs twice"),
        (nested(20, CUSTOM), "custom operator"),
        (nested(20, CUSTOM, number=11), "custom operator"),
        (nested(700, CUSTOM), "nested deeper"),
        (nested(12_000, b""), "nested deeper"),
        (write_field(7, b"\x0a\x00" * 600_000), "more than 500,000 parts"),
        (write_field(7, write_field(2, "no nodes")), "holds no graph"),
        (DATA + write_field(14, write_field(1, "fiqa_card")) * 2, "two entries of one name"),
    ],
)  # fmt: skip
def test_refused(data: bytes, words: str) -> None:
    start = time.monotonic()
    with pytest.raises(ModelError, match=words):
        read(data)
    assert time.monotonic() - start < 60


def test_a_scorer_and_a_detector_say_so_too(tmp_path) -> None:
    from sdk import FaceDetector

    (tmp_path / "bad.onnx").write_bytes(with_node(tagged(7, 2, TEXT, length=4)))
    for load in (QualityScorer, FaceDetector):
        with pytest.raises(ModelError, match=r"bad\.onnx: .*longer than"):
            load(tmp_path / "bad.onnx")


def other_values(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(onnx.TensorProto(name="more", data_type=7, dims=[2], int64_data=[-1, -(2**63)]))


def a_loop(model: onnx.ModelProto) -> None:
    inside = helper.make_tensor_value_info("inside", TensorProto.FLOAT, [1])
    value = numpy_helper.from_array(np.zeros(1, np.float32), "inside")
    branch = helper.make_graph([], "branch", [], [inside], [value])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch))


def an_import_that_is_not_used(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


@pytest.mark.parametrize("change", [other_values, a_loop, an_import_that_is_not_used])
def test_what_the_onnx_package_writes_is_taken(change: Callable[[onnx.ModelProto], None], tmp_path) -> None:
    model = tiny_model(tiny_card())
    change(model)
    onnx.save(model, tmp_path / "a.onnx")
    onnx.save(tiny_model(tiny_card()), tmp_path / "b.onnx")
    np.testing.assert_array_equal(
        QualityScorer(tmp_path / "a.onnx", "cpu").score_batch(faces(3)),
        QualityScorer(tmp_path / "b.onnx", "cpu").score_batch(faces(3)),
    )


def test_the_other_format_of_onnxruntime_is_not_looked_for(tmp_path) -> None:
    # By bytes 4 to 8 onnxruntime recognises its own ORT format, which nothing has checked.
    model = tiny_model(tiny_card())
    model.ClearField("ir_version")
    hidden = write_field(2, "??ORTM") + write_field(1, 9)
    (tmp_path / "a.onnx").write_bytes(hidden + model.SerializeToString())
    assert (tmp_path / "a.onnx").read_bytes()[4:8] == b"ORTM"
    onnx.save(tiny_model(tiny_card()), tmp_path / "b.onnx")
    assert QualityScorer(tmp_path / "a.onnx", "cpu").score(faces(1)[0]) == pytest.approx(
        QualityScorer(tmp_path / "b.onnx", "cpu").score(faces(1)[0])
    )


@given(st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_damage_is_a_model_error_or_none(places: list[tuple[int, int]], cut: bool) -> None:
    data = bytearray(DATA)
    for place, value in places:
        data[place] = value
    with suppress(ModelError):
        read(bytes(data[: places[0][0]] if cut else data))


@pytest.mark.parametrize(
    ("slope", "inputs"),
    [
        (onnx.TensorProto(name="s", data_type=1, dims=[4, 1, 1], raw_data=b"\0" * 8), ["c", "s"]),
        (onnx.TensorProto(name="s", data_type=1, dims=[0, 1, 1]), ["c", "s"]),
        (numpy_helper.from_array(np.zeros((4, 1, 1), np.float32), "s"), ["c"]),
        (numpy_helper.from_array(np.zeros((4, 1, 1), np.float32), "s"), []),
    ],
)
def test_prelu_that_makes_no_sense_is_left_as_it_is(slope: onnx.TensorProto, inputs: list[str]) -> None:
    from sdk.onnx_bytes.prelu import replace_prelu

    nodes = [helper.make_node("Conv", ["x", "k"], ["c"]), helper.make_node("PRelu", inputs, ["y"])]
    kernel = onnx.TensorProto(name="k", data_type=1, dims=[4, 3, 1, 1])
    graph = helper.make_graph(nodes, "g", [], [], [kernel, slope])
    data = helper.make_model(graph).SerializeToString()
    assert replace_prelu(data) is data
