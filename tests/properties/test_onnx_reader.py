"""The reader of ONNX files: it raises ModelError only, and agrees with the onnx package about accepted files."""

from collections.abc import Iterator

import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

from sdk.errors import ModelError
from sdk.onnx_bytes.onnx_file import STANDARD_DOMAINS, check_onnx, input_names, read_metadata, read_versions
from tests.support.strategies import MANY

FIELDS = st.integers(1, 25) | st.sampled_from([7, 1, 5, 4, 14, 13, 25, 1 << 28, (1 << 29) - 1])


def varint(value: int, longer: int = 0) -> bytes:
    """Encode a number in more bytes than necessary."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    for _ in range(longer):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


@st.composite
def fields(draw: st.DrawFn, inner: st.SearchStrategy[bytes]) -> bytes:
    """Encode an unusual field: odd wire types, high bits in the tag, wrong lengths."""
    tag = draw(FIELDS) << 3 | draw(st.sampled_from([0, 1, 2, 2, 2, 2, 5, 3, 4, 6]))
    tag |= draw(st.sampled_from([0, 0, 0, 0, 1 << 32, 1 << 35]))
    start = varint(tag, draw(st.sampled_from([0, 0, 0, 1, 4, 9])))
    if tag & 7 == 0:
        return start + varint(draw(st.integers(0, (1 << 64) - 1)))
    if tag & 7 in (1, 5):
        return start + bytes(8 if tag & 7 == 1 else 4)
    value = draw(inner)
    return start + varint(max(0, len(value) + draw(st.sampled_from([0, 0, 0, 0, 1, -1, 1 << 31])))) + value


texts = st.sampled_from([b"", b"Relu", b"com.microsoft", b"ai.onnx", b"ai.onnx.ml", b"x", b"fiqa_card", b"\xff"])
messages = st.recursive(
    texts | st.binary(max_size=6), lambda inner: st.lists(fields(inner), max_size=4).map(b"".join), max_leaves=12
)


@st.composite
def models(draw: st.DrawFn) -> bytes:
    """Return a model of unusual parts, with at least one node, so that the check goes on."""
    node = NodeProto(op_type="Relu", input=["x"], output=["y"]).SerializeToString() + draw(messages)
    graph = varint(1 << 3 | 2) + varint(len(node)) + node + draw(messages)
    return draw(messages) + varint(7 << 3 | 2) + varint(len(graph)) + graph + draw(messages)


def passes(data: bytes) -> bool:
    """Tell whether `check_onnx` accepts a file; any error but a ModelError is raised."""
    try:
        check_onnx(data)
        read_metadata(data)
        read_versions(data)
        input_names(data)
    except ModelError:
        return False
    return True


def graphs_of(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and all graphs inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from graphs_of(inner)


def tensors_of(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield all tensors of a graph."""
    yield from graph.initializer
    sparse = list(graph.sparse_initializer)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for pair in sparse:
        yield from (pair.values, pair.indices)


def is_plain(model: ModelProto) -> bool:
    """Tell whether a model, as the onnx package reads it, holds nothing that our check refuses."""
    for graph in graphs_of(model.graph):
        if any(node.domain not in STANDARD_DOMAINS for node in graph.node):
            return False
        if any(tensor.external_data or tensor.data_location for tensor in tensors_of(graph)):
            return False
    return not model.functions


@MANY
@given(st.binary(max_size=120) | messages | models())
def test_what_passes_is_plain_to_onnx(data: bytes) -> None:
    if not passes(data):
        return
    try:
        model = onnx.load_from_string(data)
    except DecodeError:
        return  # no runtime reads this file either
    assert is_plain(model)
    assert model.graph.node


@st.composite
def whole_models(draw: st.DrawFn) -> ModelProto:
    """Return a model written by the onnx package, with or without refused parts."""

    def tensor() -> TensorProto:
        made = TensorProto(name="t", data_type=1, dims=[1], float_data=[1.0])
        if draw(st.integers(0, 5)) == 0:
            made.data_location = TensorProto.EXTERNAL
        if draw(st.integers(0, 5)) == 0:
            made.external_data.add(key="location", value="weights.bin")
        return made

    def graph(depth: int) -> GraphProto:
        made = GraphProto(name="g")
        for _ in range(draw(st.integers(1, 2))):
            node = made.node.add(
                op_type="Relu", input=["x"], output=["y"], domain=draw(st.sampled_from(["", "", "", "ai.onnx", "own"]))
            )
            kind = draw(st.integers(0, 5))
            if kind == 1:
                node.attribute.append(helper.make_attribute("value", tensor()))
            elif kind == 2 and depth:
                node.attribute.append(AttributeProto(name="body", type=AttributeProto.GRAPH, g=graph(depth - 1)))
            elif kind == 3 and depth:
                node.attribute.append(
                    AttributeProto(name="bodies", type=AttributeProto.GRAPHS, graphs=[graph(depth - 1)])
                )
            elif kind == 4:
                node.attribute.append(AttributeProto(name="parts", type=AttributeProto.TENSORS, tensors=[tensor()]))
        if draw(st.booleans()):
            made.initializer.append(tensor())
        if draw(st.integers(0, 3)) == 0:
            made.sparse_initializer.add().values.CopyFrom(tensor())
        return made

    model = ModelProto(ir_version=8, graph=graph(2), opset_import=[helper.make_opsetid("", 17)])
    model.graph.input.add(name="x")
    if draw(st.integers(0, 4)) == 0:
        model.functions.add(name="f", domain="own")
    if draw(st.booleans()):
        model.metadata_props.add(key="fiqa_card", value=draw(st.text(max_size=5)))
    return model


@MANY
@given(whole_models())
def test_agreement_on_whole_models(model: ModelProto) -> None:
    data = model.SerializeToString()
    assert passes(data) == is_plain(model)
    if is_plain(model):
        assert read_versions(data) == (17, 8)
        assert input_names(data) == ["x"]
        assert read_metadata(data) == {entry.key: entry.value for entry in model.metadata_props}


@pytest.mark.parametrize("bits", [1 << 32, 1 << 33, 1 << 60])
@pytest.mark.parametrize(("number", "value"), [(7, b"com.microsoft"), (4, b"Gelu")])
def test_high_bits_of_a_tag_hide_nothing(bits: int, number: int, value: bytes) -> None:
    node = NodeProto(op_type="Relu", input=["x"], output=["y"]).SerializeToString()
    hidden = varint((number << 3 | 2) | bits) + varint(len(value)) + value
    graph = varint(1 << 3 | 2) + varint(len(node + hidden)) + node + hidden
    with pytest.raises(ModelError):
        check_onnx(varint(7 << 3 | 2) + varint(len(graph)) + graph)
