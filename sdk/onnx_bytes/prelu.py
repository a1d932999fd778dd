"""Replace PReLU nodes, because onnxruntime's CPU kernel for them is slow.

`prelu(x) = a x + (1 - a) relu(x)` becomes two depthwise 1 x 1 convolutions, a ReLU and an addition: the same up to
rounding. A MobileFaceNet is three to four times faster, because each PReLU node interrupts onnxruntime's blocked memory
layout. Other runtimes become slower, so the exported file keeps its PReLU nodes; they are replaced when a session for
the CPU is opened.
"""

import numpy as np
from numpy.typing import NDArray

from sdk.onnx_bytes import onnx_file as onnx
from sdk.onnx_bytes.onnx_file import Message, text, texts
from sdk.onnx_bytes.protobuf import read_fields, read_message, read_numbers, write_field, write_header

VERSION = 1
"""Version of the output of `replace_prelu`; part of the name of its result in the cache."""

_FLOAT, _TYPE_INT, _TYPE_TENSOR = 1, 2, 4
_MOST_CHANNELS, _MOST_NORMALISATIONS = 1 << 16, 8


def replace_prelu(model: bytes) -> bytes:
    """Replace every PReLU with constant slopes, one a channel, whose input comes from a 2-D convolution.

    Args:
        model: An ONNX file that `check_onnx` has passed.

    Returns:
        An ONNX file; `model` itself if there is nothing to replace.
    """
    fields = list(read_fields(model))
    graph = next(field for field in fields if field.number == onnx.MODEL_GRAPH)
    assert isinstance(graph.value, memoryview)
    parts = _rewrite_graph(graph.value)
    if parts is None:
        return model
    head = write_header(onnx.MODEL_GRAPH, sum(map(len, parts)))
    at = fields.index(graph)
    before, after = ([field.raw for field in side] for side in (fields[:at], fields[at + 1 :]))
    return b"".join([*before, head, *parts, *after])


def _rewrite_graph(graph: memoryview) -> list[bytes | memoryview] | None:
    """Return the fields of the new graph, most of them not copied; None if there is nothing to replace."""
    message = read_message(graph)
    nodes = [read_message(node) for node in message.get(onnx.GRAPH_NODE, [])]
    makers = {output: node for node in nodes for output in texts(node, onnx.NODE_OUTPUT)}
    tensors = {text(read_message(data), onnx.TENSOR_NAME): data for data in message.get(onnx.GRAPH_INITIALIZER, [])}
    for node in nodes:
        if text(node, onnx.NODE_OP) == "Constant":
            for attribute in map(read_message, node.get(onnx.NODE_ATTRIBUTE, [])):
                for data in attribute.get(onnx.ATTRIBUTE_TENSOR, []):
                    tensors[text(node, onnx.NODE_OUTPUT)] = data
    parts: list[bytes | memoryview] = []
    count = 0
    remaining = iter(nodes)
    for field in read_fields(graph):
        here = next(remaining) if field.number == onnx.GRAPH_NODE else {}
        slopes = _slopes(here, makers, tensors)
        if slopes is None:
            parts.append(field.raw)
            continue
        parts += [write_field(onnx.GRAPH_NODE, new) for new in _replacement(here, slopes, f"fiqa_prelu_{count}")]
        count += 1
    return parts if count else None


def _slopes(node: Message, makers: dict[str, Message], tensors: dict[str, memoryview]) -> NDArray[np.float32] | None:
    """Return the slopes of a node that can be replaced, float32 (C,); else None."""
    inputs = texts(node, onnx.NODE_INPUT)
    if text(node, onnx.NODE_OP) != "PRelu" or len(inputs) != 2 or len(node.get(onnx.NODE_OUTPUT, [])) != 1:
        return None
    data = tensors.get(inputs[1])
    channels = _channels(makers.get(inputs[0]), makers, tensors)
    if data is None or channels is None or read_numbers(data, onnx.TENSOR_TYPE) != [_FLOAT]:
        return None
    shape = read_numbers(data, onnx.TENSOR_DIMS)
    if [1] * (4 - len(shape)) + shape not in ([1, channels, 1, 1], [1, 1, 1, 1]):
        return None
    tensor = read_message(data)
    raw = b"".join(tensor.get(onnx.TENSOR_RAW) or tensor.get(onnx.TENSOR_FLOATS, []))
    if len(raw) != 4 * max(shape, default=1):
        return None
    return np.broadcast_to(np.frombuffer(raw, "<f4"), channels)


def _channels(maker: Message | None, makers: dict[str, Message], tensors: dict[str, memoryview]) -> int | None:
    """Return the channels of a 2-D convolution, also behind batch normalisations; None for any other node."""
    for _ in range(_MOST_NORMALISATIONS):
        if maker is None or text(maker, onnx.NODE_OP) != "BatchNormalization":
            break
        maker = makers.get(next(iter(texts(maker, onnx.NODE_INPUT)), ""))
    inputs = texts(maker, onnx.NODE_INPUT) if maker is not None and text(maker, onnx.NODE_OP) == "Conv" else []
    kernel = tensors.get(inputs[1]) if len(inputs) > 1 else None
    sizes = read_numbers(kernel, onnx.TENSOR_DIMS) if kernel is not None else []
    return sizes[0] if len(sizes) == 4 and 1 <= sizes[0] <= _MOST_CHANNELS else None


def _replacement(node: Message, slopes: NDArray[np.float32], name: str) -> list[bytes]:
    x, y = bytes(node[onnx.NODE_INPUT][0]), bytes(node[onnx.NODE_OUTPUT][0])
    a, b, ax, bx, relu, rest = (f"{name}_{part}".encode() for part in ("a", "b", "ax", "bx", "relu", "rest"))
    group = _attribute("group", onnx.ATTRIBUTE_INT, len(slopes), _TYPE_INT)
    if slopes.max() <= 1:  # then (1 - a) relu(x) = relu((1 - a) x), and onnxruntime fuses convolution and ReLU
        scaled = [_node("Conv", [x, b], bx, group), _node("Relu", [bx], rest)]
    else:
        scaled = [_node("Relu", [x], relu), _node("Conv", [relu, b], rest, group)]
    return [
        _node("Constant", [], a, _attribute("value", onnx.ATTRIBUTE_TENSOR, _tensor(slopes), _TYPE_TENSOR)),
        _node("Constant", [], b, _attribute("value", onnx.ATTRIBUTE_TENSOR, _tensor(1 - slopes), _TYPE_TENSOR)),
        *scaled,
        _node("Conv", [x, a], ax, group),
        _node("Add", [ax, rest], y),
    ]


def _node(op: str, inputs: list[bytes], output: bytes, attribute: bytes = b"") -> bytes:
    parts = [write_field(onnx.NODE_INPUT, name) for name in inputs]
    parts += [write_field(onnx.NODE_OUTPUT, output), write_field(onnx.NODE_NAME, output), write_field(onnx.NODE_OP, op)]
    return b"".join(parts) + (write_field(onnx.NODE_ATTRIBUTE, attribute) if attribute else b"")


def _attribute(name: str, number: int, value: int | bytes, kind: int) -> bytes:
    fields = ((onnx.ATTRIBUTE_NAME, name), (number, value), (onnx.ATTRIBUTE_TYPE, kind))
    return b"".join(write_field(field, content) for field, content in fields)


def _tensor(slopes: NDArray[np.float32]) -> bytes:
    """Encode slopes as a convolution's kernel, (C, 1, 1, 1)."""
    dims = b"".join(write_field(onnx.TENSOR_DIMS, size) for size in (len(slopes), 1, 1, 1))
    return dims + write_field(onnx.TENSOR_TYPE, _FLOAT) + write_field(onnx.TENSOR_RAW, slopes.astype("<f4").tobytes())
