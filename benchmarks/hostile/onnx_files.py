"""Small ONNX files, and damage that knows protocol buffers and ONNX."""

import json
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from hostile.inputs import odd_number
from sdk.models.card import METADATA_KEY

QUALITY, DETECTION = {"name": "hostile"}, {"name": "hostile", "task": "detection", "variant": "fiqa-detector",
    "output": "cells", "input": {"height": 0, "width": 0}}  # fmt: skip


@cache
def quality_network() -> bytes:
    """Mean of the pixels through a convolution and a PReLU: uint8 (N, 112, 112, 3) -> (N, 1)."""
    nodes = [
        helper.make_node("Cast", ["faces"], ["f"], to=1),
        helper.make_node("Transpose", ["f"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["c"], kernel_shape=[1, 1]), helper.make_node("PRelu", ["c", "s"], ["p"]),
        helper.make_node("ReduceMean", ["p"], ["m"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Add", ["m", "b"], ["q"]), helper.make_node("Reshape", ["q", "shape"], ["quality"]),
    ]  # fmt: skip
    tensors = {
        "w": np.full((4, 3, 1, 1), 0.001, np.float32), "s": np.full((4, 1, 1), 0.5, np.float32),
        "b": np.array([0.1], np.float32), "shape": np.array([-1, 1], np.int64),
    }  # fmt: skip
    ends = ["faces", TensorProto.UINT8, ["N", 112, 112, 3]], ["quality", TensorProto.FLOAT, ["N", 1]]
    return _model(nodes, tensors, *ends, QUALITY).SerializeToString()


@cache
def detector() -> bytes:
    """A detector whose cells say what the pixels say: uint8 (1, H, W, 3) -> (1, cells, 15)."""
    nodes = [helper.make_node("Cast", ["image"], ["f"], to=1)]
    nodes.append(helper.make_node("Transpose", ["f"], ["t"], perm=[0, 3, 1, 2]))
    for side in (8, 16, 32):
        pool = {"kernel_shape": [side, side], "strides": [side, side]}
        nodes += [
            helper.make_node("AveragePool", ["t"], [f"p{side}"], **pool),
            helper.make_node("Conv", [f"p{side}", "w"], [f"c{side}"], kernel_shape=[1, 1]),
            helper.make_node("Transpose", [f"c{side}"], [f"l{side}"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", [f"l{side}", "shape"], [f"r{side}"]),
        ]
    nodes.append(helper.make_node("Concat", ["r8", "r16", "r32"], ["cells"], axis=1))
    tensors = {"w": np.full((15, 3, 1, 1), 1 / 765, np.float32), "shape": np.array([1, -1, 15], np.int64)}
    ends = ["image", TensorProto.UINT8, [1, "H", "W", 3]], ["cells", TensorProto.FLOAT, [1, "cells", 15]]
    return _model(nodes, tensors, *ends, DETECTION).SerializeToString()


def _model(
    nodes: list[Any], tensors: dict[str, Any], given: list[Any], made: list[Any], card: dict[str, Any]
) -> ModelProto:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(*given)], [helper.make_tensor_value_info(*made)],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: json.dumps(card)})
    return model


# What ONNX can say that a model file must not, or that makes no sense. Each changes a model in place.


def _any_tensor(draw: random.Random, model: ModelProto) -> TensorProto:
    return draw.choice(list(model.graph.initializer))


def _subgraph(model: ModelProto) -> Any:
    """The graph of a branch of a new node `If`."""
    branch = helper.make_graph([helper.make_node("Identity", ["q"], ["inner"])], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["condition"], ["chosen"], then_branch=branch, else_branch=branch))
    return next(attribute for attribute in model.graph.node[-1].attribute if attribute.name == "then_branch").g


def custom_domain(draw: random.Random, model: ModelProto) -> None:
    """An operator that is not ONNX's, in the graph or in a branch."""
    domain = draw.choice(
        ("com.microsoft", "ai.onnx.contrib", "com.microsoft.nchwc", "Ai.Onnx", "ai.onnx ", "a\0b", "ai.onnx.training")
    )
    graph = model.graph if draw.random() < 0.5 else _subgraph(model)
    draw.choice(list(graph.node)).domain = domain
    if draw.random() < 0.7:
        model.opset_import.append(helper.make_opsetid(domain, 1))


def external_data(draw: random.Random, model: ModelProto) -> None:
    """Weights in another file: of an initialiser, a constant, a sparse tensor, a tensor in a list, in a branch."""
    tensor = TensorProto(name="x", data_type=1, dims=[1], data_location=draw.choice((0, 1, 1)))
    for key, value in (
        ("location", draw.choice(("/etc/passwd", "weights.bin", "../weights.bin", ""))),
        ("length", "4"),
    )[: draw.randint(0, 2)]:
        tensor.external_data.add(key=key, value=value)
    kind = draw.randrange(5)
    graph = model.graph if draw.random() < 0.6 else _subgraph(model)
    if kind == 0:
        graph.initializer.append(tensor)
    elif kind == 1:
        graph.node.append(helper.make_node("Constant", [], ["x"], value=tensor))
    elif kind == 2:
        sparse = graph.sparse_initializer.add()
        (sparse.values if draw.random() < 0.5 else sparse.indices).CopyFrom(tensor)
    elif kind == 3:
        graph.node.add(op_type="Identity").attribute.append(
            AttributeProto(name="x", type=AttributeProto.TENSORS, tensors=[tensor])
        )
    else:
        model.training_info.add().initialization.initializer.append(tensor)


def functions(draw: random.Random, model: ModelProto) -> None:
    """A function of the file's own, perhaps one that calls itself or takes an operator's name."""
    name, domain = draw.choice((("Relu", ""), ("Own", "own"), ("Add", "ai.onnx"))), "own"
    body = helper.make_node(name[0] if draw.random() < 0.5 else "Identity", ["x"], ["y"], domain=name[1])
    model.functions.append(
        helper.make_function(name[1] or domain, name[0], ["x"], ["y"], [body], [helper.make_opsetid("", 13)])
    )


def training(draw: random.Random, model: ModelProto) -> None:
    """Training information with a graph of another domain."""
    info = model.training_info.add()
    info.algorithm.node.add(op_type="Own", domain="own")


def tensor_values(draw: random.Random, model: ModelProto) -> None:
    """Another type, shape or content of an initialiser."""
    tensor = _any_tensor(draw, model)
    kind = draw.randrange(5)
    if kind == 0:
        tensor.dims[:] = [draw.choice((0, -1, 1 << 31, 1 << 40, (1 << 63) - 1, 3)) for _ in range(draw.randint(0, 4))]
    elif kind == 1:
        tensor.data_type = draw.choice((0, 2, 7, 8, 10, 11, 14, 16, 17, 22, 23, 99, 2_000_000_000, -1))
    elif kind == 2:
        tensor.raw_data = draw.randbytes(draw.choice((0, 1, 7, 1000)))
    elif kind == 3:
        tensor.float_data.extend([float("nan"), float("inf"), 1e38] * draw.choice((1, 1000)))
    else:
        tensor.raw_data = np.full(len(tensor.raw_data) // 4, draw.choice((np.nan, np.inf, 3e38)), np.float32).tobytes()


def node_values(draw: random.Random, model: ModelProto) -> None:
    """Another operator, attribute, input or output of a node; a node that feeds itself."""
    node = draw.choice(list(model.graph.node))
    kind = draw.randrange(6)
    if kind == 0:
        node.op_type = draw.choice(
            ("", "Relu", "Loop", "Unknown", "MemcpyToHost", "Scan", "SequenceEmpty", "Relu\0", "x" * 100_000)
        )
    elif kind == 1 and node.input:
        node.input[draw.randrange(len(node.input))] = draw.choice(("", "quality", "nowhere", node.output[0], "faces"))
    elif kind == 2:
        node.output.append(draw.choice(("", "quality", "faces", "w")))
    elif kind == 3:
        node.attribute.append(
            helper.make_attribute(
                draw.choice(("axes", "to", "kernel_shape", "x")), draw.choice((1, [1 << 62], "text", 0.5, [-1, -1]))
            )
        )
    elif kind == 4:
        del model.graph.node[draw.randrange(len(model.graph.node))]
    else:
        model.graph.node.extend([node] * draw.choice((1, 1000)))


def ends(draw: random.Random, model: ModelProto) -> None:
    """Another type, shape, name or number of inputs or outputs."""
    values = draw.choice((model.graph.input, model.graph.output))
    kind = draw.randrange(6)
    shape = values[0].type.tensor_type.shape
    if kind == 0:
        values[0].type.tensor_type.elem_type = draw.choice((0, 1, 6, 7, 8, 10, 99))
    elif kind == 1:
        draw.choice(list(shape.dim)).dim_value = draw.choice((0, -1, 1, 2, 17, 1 << 40))
    elif kind == 2:
        del shape.dim[draw.randrange(len(shape.dim)) :]
    elif kind == 3:
        values.append(values[0])
    elif kind == 4:
        values[0].name = draw.choice(("", "other", "w", "q", "\n[bold]"))
    else:
        del values[:]


def versions(draw: random.Random, model: ModelProto) -> None:
    """Other versions, of operators or of the format."""
    odd = draw.choice((0, -1, 1, 6, 99, 1 << 40))
    if draw.random() < 0.4:
        model.ir_version = odd
    elif draw.random() < 0.5:
        model.opset_import[0].version = odd
    else:
        model.opset_import.append(helper.make_opsetid(draw.choice(("", "ai.onnx", "ai.onnx.ml", "x" * 100)), odd))


def deep(draw: random.Random, model: ModelProto) -> None:
    """Graphs within graphs within graphs."""
    graph = _subgraph(model)
    for _ in range(draw.choice((5, 60, 95, 101))):
        node = graph.node.add(op_type="If")
        attribute = node.attribute.add(name="then_branch", type=AttributeProto.GRAPH)
        graph = attribute.g
    graph.node.add(op_type="Identity", domain=draw.choice(("", "own")))


def card_entries(draw: random.Random, model: ModelProto) -> None:
    """No card, two cards, a card that is no JSON."""
    kind = draw.randrange(4)
    if kind == 0:
        del model.metadata_props[:]
    elif kind == 1:
        model.metadata_props.add(key=METADATA_KEY, value='{"name": "second", "format": "tensorrt"}')
    elif kind == 2:
        model.metadata_props[0].value = draw.choice(("", "{", "[]", "null", "1" * 10_000, '{"a":' * 10_000))
    else:
        model.metadata_props.extend([model.metadata_props[0]] * 10_000)


CHANGES: tuple[Callable[[random.Random, ModelProto], None], ...] = (
    custom_domain, external_data, external_data, functions, training, tensor_values, tensor_values, node_values,
    node_values,
    ends, ends, versions, deep, card_entries,
)  # fmt: skip


def change_model(draw: random.Random, data: bytes) -> tuple[bytes, str]:
    """One or two of these changes of a model, and their names."""
    model = ModelProto.FromString(data)
    names = []
    for change in draw.choices(CHANGES, k=draw.choice((1, 1, 2))):
        try:
            change(draw, model)
            names.append(change.__name__)
        except (IndexError, ValueError, TypeError):  # a change before it took away what this one changes
            names.append(f"no {change.__name__}")
    return model.SerializeToString(), "+".join(names)


# Damage on the wire.

NESTED = {
    "model": {7: "graph", 8: "opset", 14: "entry", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 15: "sparse"},
    "node": {5: "attribute"}, "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"}, "training": {1: "graph", 2: "graph"}, "function": {7: "node"},
}  # fmt: skip
"""Message: which of its fields are messages of which kind. Field numbers are those of onnx.proto."""

STRINGS = {
    "node": (7, b"com.microsoft"),
    "tensor": (14, 1),
    "opset": (1, b"own"),
    "model": (25, b"\x0a\1x"),
    "attribute": (21, b"ref"),
    "entry": (1, b"fiqa_card"),
}
"""Message: a field that our check looks at, and a value that it refuses."""


def varint(value: int, longer: int = 0) -> bytes:
    """A number on the wire, perhaps in more bytes than it needs."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    for _ in range(longer):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


def wire(tag: int, value: int | bytes) -> bytes:
    """A field; the tag is number and wire type."""
    return varint(tag) + (varint(value) if isinstance(value, int) else varint(len(value)) + value)


def _read(data: bytes) -> list[tuple[int, int | bytes]]:
    """Fields of a good message as (tag, value)."""
    found: list[tuple[int, int | bytes]] = []
    place = 0

    def number() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(data):
        tag = number()
        if tag & 7 == 0:
            found.append((tag, number()))
        else:
            size = {1: 8, 5: 4}.get(tag & 7) or number()
            found.append((tag, data[place : place + size]))
            place += size
    return found


def _odd_field(draw: random.Random, tag: int, value: int | bytes) -> bytes:
    """A field written as no writer would."""
    body = varint(value) if isinstance(value, int) else value if tag & 7 in (1, 5) else varint(len(value)) + value
    kind = draw.randrange(9)
    if kind == 0:  # more than 32 bits: some readers drop them
        return varint(tag | draw.choice((1 << 32, 1 << 33, 1 << 60, 1 << 35))) + body
    if kind == 1:  # more bytes than it needs
        return varint(tag, draw.choice((1, 3, 5, 8, 12))) + body
    if kind == 2:  # number above 2^29, which no field may have
        return varint(tag + (draw.choice((1 << 29, 1 << 28)) << 3)) + body
    if kind == 3:
        return varint(tag & ~7 | draw.choice((0, 1, 2, 3, 4, 5, 6, 7))) + body
    if kind == 4 and not isinstance(value, int):  # a length that lies
        return (
            varint(tag)
            + varint(draw.choice((len(value) + 1, max(0, len(value) - 1), odd_number(draw), 1 << 63, (1 << 64) - 1)))
            + value
        )
    if kind == 5:  # in a group of wire types 3 and 4
        return varint(tag & ~7 | 3) + varint(tag) + body + varint(tag & ~7 | 4)
    if kind == 6:  # twice, the second one empty: which counts?
        return varint(tag) + body + wire(tag, 0 if isinstance(value, int) else b"")
    if kind == 7:  # twice, the first one empty
        return wire(tag, 0 if isinstance(value, int) else b"") + varint(tag) + body
    return varint(tag) + body + varint(draw.choice((0, 1 << 3, 19_000 << 3 | 2, 7))) + draw.randbytes(3)


def change_wire(draw: random.Random, data: bytes, kind: str = "model") -> tuple[bytes, str]:
    """Write one field, at any depth, as no writer would; perhaps with a forbidden value."""
    fields = _read(data)
    inner = [
        place
        for place, (tag, value) in enumerate(fields)
        if tag >> 3 in NESTED.get(kind, {}) and isinstance(value, bytes)
    ]
    place = draw.choice(inner) if inner and draw.random() < 0.75 else -1
    out = []
    for index, (tag, value) in enumerate(fields):
        if index == place and isinstance(value, bytes):
            value, about = change_wire(draw, value, NESTED[kind][tag >> 3])
            out.append(wire(tag, value))
        else:
            out.append(varint(tag) + value if tag & 7 in (1, 5) and isinstance(value, bytes) else wire(tag, value))
    if place >= 0:
        return b"".join(out), f"{kind}.{about}"
    if kind in STRINGS and draw.random() < 0.5:
        number, forbidden = STRINGS[kind]
        tag = number << 3 | (0 if isinstance(forbidden, int) else 2)
        out.insert(draw.randint(0, len(out)), _odd_field(draw, tag, forbidden))
        return b"".join(out), f"{kind}: hidden field {number}"
    if fields:
        index = draw.randrange(len(fields))
        out[index] = _odd_field(draw, *fields[index])
    if draw.random() < 0.1:
        draw.shuffle(out)
    return b"".join(out), f"{kind}: odd field"
