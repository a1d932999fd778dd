"""What an engine really computes in: its builder's report, layer by layer, against the graph it was built from."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sdk.errors import ModelError
from sdk.models.formats import PRECISIONS
from sdk.onnx_bytes.onnx_file import (
    GRAPH_INITIALIZER,
    GRAPH_NODE,
    MODEL_GRAPH,
    NODE_INPUT,
    NODE_NAME,
    NODE_OP,
    NODE_OUTPUT,
    TENSOR_NAME,
    TENSOR_TYPE,
    text,
    texts,
)
from sdk.onnx_bytes.protobuf import read_message, read_numbers

PRODUCTS = ("Conv", "Gemm", "MatMul")
"""Operators that do nearly all of a network's arithmetic, and whose precision is therefore the engine's."""

ALLOWED: Mapping[str, tuple[str, ...]] = {
    name: precision.products for name, precision in PRECISIONS.items() if precision.in_files
}
"""Precision of a file -> precisions that its products may have; the first is that of most of them. The last product,
which gives the score, may be fp32, and so may all that is no product: the conversion of the input, the normalisation
of features, what is between a product of integers and the next."""

_WORDS = (("uint8", "uint8"), ("int8", "int8"), ("half", "fp16"), ("fp16", "fp16"), ("float", "fp32"), ("fp32", "fp32"))
_ONNX_TYPES = {1: "fp32", 10: "fp16"}


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of an engine.

    Attributes:
        name: As the engine calls it.
        kind: What it is to the library, for example `correlation`, `gemm`, `kgen`.
        nodes: Nodes of the ONNX graph that it came from.
        inputs: Precisions of what it takes, without its weights.
        outputs: Precisions of what it gives.
    """

    name: str
    kind: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_report(report: str) -> tuple[Layer, ...]:
    """Layers of an engine, from the lines of TensorRT's engine inspector (detailed verbosity).

    Such a line is `Name: ..., LayerType: ..., Inputs: [ { ..., Datatype: Half, ... }], ..., Metadata: [ONNX Layer: x]`.
    """
    layers = []
    for line in report.splitlines():
        found = re.match(r"\s*Name: (.*?), LayerType: (.*?),", line)
        if found:
            nodes = tuple(re.findall(r"\[ONNX Layer: (.*?)\]", line))
            layers.append(Layer(found[1], found[2], nodes, _precisions(line, "Inputs"), _precisions(line, "Outputs")))
    return tuple(layers)


def products(model: bytes) -> dict[str, str]:
    """The products of an ONNX graph by name, and the precision that the graph has for each.

    `int8` where what it takes was quantised, else the type of its weights.

    Raises:
        ModelError: The bytes are no ONNX file, a type is none of these, or a product has no name.
    """
    graph = read_message(read_message(model)[MODEL_GRAPH][0])
    types = {
        text(read_message(tensor), TENSOR_NAME): max(read_numbers(tensor, TENSOR_TYPE), default=0)
        for tensor in graph.get(GRAPH_INITIALIZER, [])
    }
    found, quantised = {}, set[str]()
    for node in map(read_message, graph.get(GRAPH_NODE, [])):
        operator = text(node, NODE_OP)
        if operator == "DequantizeLinear":
            quantised |= set(texts(node, NODE_OUTPUT))
        elif operator in PRODUCTS:
            source, weights = [*texts(node, NODE_INPUT), "", ""][:2]
            kind = "int8" if source in quantised else _ONNX_TYPES.get(types.get(weights, 0))
            name = text(node, NODE_NAME)
            if kind is None or not name or name in found:
                raise ModelError(
                    f"{operator} {name!r} has weights that are not float32 or float16 constants, or no name of "
                    "its own; export the model with fiqa-export"
                )
            found[name] = kind
    return found


def check_precisions(layers: Sequence[Layer], wanted: Mapping[str, str], precision: str) -> None:
    """Compare an engine with the graph that it was built from, and the graph with the precision asked for.

    Args:
        layers: Of `read_report`.
        wanted: Of `products`.
        precision: On the model's card.

    Raises:
        ModelError: A product is computed in another precision.
    """
    kinds = list(wanted.values())
    counts = Counter(kinds[:-1] if kinds[-1:] == ["fp32"] else kinds)
    if set(counts) - set(ALLOWED[precision]) or counts[ALLOWED[precision][0]] * 2 <= sum(counts.values()):
        raise ModelError(
            f"the graph has convolutions and matrix products in {_words(Counter(kinds))}, wanted {precision}; "
            f"export it with --precision {precision}"
        )
    wrong = {}
    for product, kind in wanted.items():
        own = [layer for layer in layers if product in layer.nodes]
        taken = {name for layer in own for name in layer.inputs}
        # Between a product of integers and the next, layers of the same nodes go by way of fp32.
        if kind not in taken or (kind == "fp16" and "fp32" in taken):
            wrong[product] = f"{kind} became {'/'.join(sorted(taken)) or 'nothing'}"
    if wrong:
        first = ", ".join(f"{name}: {what}" for name, what in list(wrong.items())[:3])
        raise ModelError(
            f"the engine is not {precision}: {len(wrong)} of {len(wanted)} convolutions and matrix products are "
            f"computed in another precision ({first}); this target does not take {precision}: choose another of them"
        )


def summary(layers: Sequence[Layer]) -> dict[str, int]:
    """How many layers take each precision; a layer that takes two counts for the wider one."""
    order = ("fp32", "fp16", "int8", "uint8")
    widest = [next((name for name in order if name in layer.inputs), None) for layer in layers]
    return dict(Counter(name for name in widest if name))


def _precisions(line: str, key: str) -> tuple[str, ...]:
    found = re.search(rf"\b{key}: \[(?:\]|(.*?)\}}\])", line)
    kinds = re.findall(r"Datatype: ([^,}]*)", found[1] or "") if found else []
    return tuple(dict.fromkeys(next((name for word, name in _WORDS if word in kind.lower()), kind) for kind in kinds))


def _words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items()) or "nothing"
