"""Check the precision of an engine's layers: compare the builder's report with the graph that it was built from."""

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
"""Operators that do nearly all of a network's arithmetic. Their precision is the engine's precision."""

ALLOWED: Mapping[str, tuple[str, ...]] = {
    name: precision.products for name, precision in PRECISIONS.items() if precision.in_files
}
"""Precisions that a file's products may have, by the file's precision; most products have the first.

The last product, which gives the score, may be fp32. So may every layer that is no product: the conversion of the
input, the normalisation of features, and what lies between two products of integers."""

_WORDS = (("uint8", "uint8"), ("int8", "int8"), ("half", "fp16"), ("fp16", "fp16"), ("float", "fp32"), ("fp32", "fp32"))
_ONNX_TYPES = {1: "fp32", 10: "fp16"}


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of an engine.

    Attributes:
        name: Its name in the engine.
        kind: Its kind in the library, for example `correlation`, `gemm`, `kgen`.
        nodes: Nodes of the ONNX graph that it was made of.
        inputs: Precisions of its inputs, without its weights.
        outputs: Precisions of its outputs.
    """

    name: str
    kind: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_report(report: str) -> tuple[Layer, ...]:
    """Return the layers of an engine, from the lines of TensorRT's engine inspector (detailed verbosity).

    A line is `Name: ..., LayerType: ..., Inputs: [ { ..., Datatype: Half, ... }], ..., Metadata: [ONNX Layer: x]`.
    """
    layers = []
    for line in report.splitlines():
        found = re.match(r"\s*Name: (.*?), LayerType: (.*?),", line)
        if found:
            nodes = tuple(re.findall(r"\[ONNX Layer: (.*?)\]", line))
            layers.append(Layer(found[1], found[2], nodes, _precisions(line, "Inputs"), _precisions(line, "Outputs")))
    return tuple(layers)


def products(model: bytes) -> dict[str, str]:
    """Return the precision of each product of an ONNX graph, by the name of its node.

    It is `int8` if the input is a dequantised value, else the type of the weights.

    Raises:
        ModelError: The bytes are no ONNX file, a product has no name, or its weights are of another type.
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
        layers: The engine's layers, from `read_report`.
        wanted: The graph's products, from `products`.
        precision: Precision on the model's card.

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
        # Between two products of integers, layers of the same nodes compute in fp32.
        if kind not in taken or (kind == "fp16" and "fp32" in taken):
            wrong[product] = f"{kind} became {'/'.join(sorted(taken)) or 'nothing'}"
    if wrong:
        first = ", ".join(f"{name}: {what}" for name, what in list(wrong.items())[:3])
        raise ModelError(
            f"the engine is not {precision}: {len(wrong)} of {len(wanted)} convolutions and matrix products are "
            f"computed in another precision ({first}); this target does not run {precision}: choose another precision"
        )


def summary(layers: Sequence[Layer]) -> dict[str, int]:
    """Count the layers by the precision of their inputs; a layer with two precisions counts for the wider one."""
    order = ("fp32", "fp16", "int8", "uint8")
    widest = [next((name for name in order if name in layer.inputs), None) for layer in layers]
    return dict(Counter(name for name in widest if name))


def _precisions(line: str, key: str) -> tuple[str, ...]:
    found = re.search(rf"\b{key}: \[(?:\]|(.*?)\}}\])", line)
    kinds = re.findall(r"Datatype: ([^,}]*)", found[1] or "") if found else []
    return tuple(dict.fromkeys(next((name for word, name in _WORDS if word in kind.lower()), kind) for kind in kinds))


def _words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items()) or "nothing"
