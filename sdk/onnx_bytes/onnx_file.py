"""Check an ONNX file before it is loaded, and read its metadata: from its bytes, without the onnx package.

Field numbers are those of onnx.proto3.
"""

from collections.abc import Mapping
from typing import NamedTuple

from sdk.errors import ModelError
from sdk.onnx_bytes.protobuf import BYTES, FIXED32, FIXED64, VARINT, Field, read_fields, read_message, read_numbers

MODEL_IR, MODEL_GRAPH, MODEL_OPSETS, MODEL_METADATA, MODEL_FUNCTIONS = 1, 7, 8, 14, 25
OPSET_DOMAIN, OPSET_VERSION = 1, 2
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT = 1, 5, 11
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_OP, NODE_ATTRIBUTE, NODE_DOMAIN = 1, 2, 3, 4, 5, 7
ATTRIBUTE_NAME, ATTRIBUTE_INT, ATTRIBUTE_TENSOR, ATTRIBUTE_TYPE = 1, 3, 5, 20
TENSOR_DIMS, TENSOR_TYPE, TENSOR_FLOATS, TENSOR_NAME, TENSOR_RAW = 1, 2, 4, 8, 9
TENSOR_EXTERNAL, TENSOR_LOCATION = 13, 14

STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")

DEEPEST = 100
"""Most messages inside one another. protobuf's own parser has the same limit."""

MOST_FIELDS = 500_000
"""Most fields of a file. A network of a thousand layers has some ten thousand."""

Message = dict[int, list[memoryview]]


class _Rule(NamedTuple):
    """Rule for a field of a message.

    Attributes:
        wires: Wire types that it may have. A list of numbers may also be packed.
        many: True if it may occur more than once.
        form: For a message, its name in `_FORMS`; else empty.
    """

    wires: tuple[int, ...]
    many: bool
    form: str


_WIRES = {"number": VARINT, "text": BYTES, "float": FIXED32, "double": FIXED64}


def _rule(words: str) -> _Rule:
    """Make a rule from its text in `_FORMS`: a wire type or the name of a form, with `*` for a repeated field."""
    kind, many = words.rstrip("*"), words.endswith("*")
    if kind not in _WIRES:
        return _Rule((BYTES,), many, kind)
    wires = (_WIRES[kind], BYTES) if many else (_WIRES[kind],)
    return _Rule(wires, many, "")


_FORMS: Mapping[str, Mapping[int, _Rule]] = {
    form: {number: _rule(words) for number, words in rules.items()}
    for form, rules in {
        "model": {
            1: "number", 2: "text", 3: "text", 4: "text", 5: "number", 6: "text", 7: "graph", 8: "opset*",
            14: "entry*", 20: "training*", 25: "function*",
        },
        "opset": {1: "text", 2: "number"},
        "entry": {1: "text", 2: "text"},
        "training": {1: "graph", 2: "graph", 3: "entry*", 4: "entry*"},
        "function": {},
        "graph": {
            1: "node*", 2: "text", 5: "tensor*", 10: "text", 11: "value*", 12: "value*", 13: "value*",
            15: "sparse tensor*", 16: "entry*",
        },
        "node": {1: "text*", 2: "text*", 3: "text", 4: "text", 5: "attribute*", 6: "text", 7: "text", 8: "text"},
        "attribute": {
            1: "text", 2: "float", 3: "number", 4: "text", 5: "tensor", 6: "graph", 7: "float*", 8: "number*",
            9: "text*", 10: "tensor*", 11: "graph*", 13: "text", 14: "type", 15: "type*", 20: "number", 21: "text",
            22: "sparse tensor", 23: "sparse tensor*",
        },
        "tensor": {
            1: "number*", 2: "number", 3: "text", 4: "float*", 5: "number*", 6: "text*", 7: "number*", 8: "text",
            9: "text", 10: "double*", 11: "number*", 12: "text", 13: "entry*", 14: "number",
        },
        "sparse tensor": {1: "tensor", 2: "tensor", 3: "number*"},
        "value": {1: "text", 2: "type", 3: "text"},
        "type": {},
    }.items()
}  # fmt: skip
"""The messages of onnx.proto3 that may hold operators or weights."""


def read_metadata(data: bytes) -> dict[str, str]:
    """Return the `metadata_props` of an ONNX file.

    Raises:
        ModelError: The bytes are no ONNX file, or two entries have the same name.
    """
    entries = [read_message(entry) for entry in read_message(data).get(MODEL_METADATA, [])]
    found = {text(entry, 1): text(entry, 2) for entry in entries}
    if len(found) != len(entries):
        raise ModelError("the ONNX file has two entries of one name in its metadata_props; export it again")
    return found


def check_onnx(data: bytes) -> None:
    """Refuse an ONNX file that is not safe to load: with weights in other files, custom operators, functions or loops.

    A file that two readers may understand differently is refused, too, for example one with a duplicate field.

    Raises:
        ModelError: The bytes are no ONNX file, or the file is refused.
    """
    counts = dict.fromkeys(_FORMS, 0)
    todo: list[tuple[memoryview, str, int]] = [(memoryview(data), "model", 1)]
    fields = 0
    while todo:
        message, form, depth = todo.pop()
        counts[form] += 1
        if depth > DEEPEST:
            raise ModelError(f"the ONNX file is nested deeper than {DEEPEST} messages; export a simpler model")
        known, found = _FORMS[form], dict[int, Field]()
        for field in read_fields(message):
            fields += 1
            if fields > MOST_FIELDS:
                raise ModelError(f"the ONNX file has more than {MOST_FIELDS:,} parts; export a smaller model")
            rule = known.get(field.number)
            if rule is None:  # every reader ignores unknown fields
                continue
            if field.wire not in rule.wires or (field.number in found and not rule.many):
                raise ModelError(
                    f"not an ONNX file: field {field.number} of a {form} has a wrong type or occurs twice; "
                    "fetch or export it again"
                )
            found[field.number] = field
            if rule.form and isinstance(field.value, memoryview):
                todo.append((field.value, rule.form, depth + 1))
        _check_message(form, found)
    if counts["graph"] == 0 or counts["node"] == 0:
        raise _no_graph()


def read_versions(data: bytes) -> tuple[int, int]:
    """Return the opset and the IR version of a file that `check_onnx` has passed; 0 if the file does not say."""
    standard = [
        opset
        for opset in read_message(data).get(MODEL_OPSETS, [])
        if text(read_message(opset), OPSET_DOMAIN) in ("", "ai.onnx")
    ]
    opsets = [number for opset in standard for number in read_numbers(opset, OPSET_VERSION)]
    return max(opsets, default=0), max(read_numbers(data, MODEL_IR), default=0)


def input_names(data: bytes) -> list[str]:
    """Return the names of the inputs of a file that `check_onnx` has passed, without those with an initialiser."""
    graph = read_message(read_message(data)[MODEL_GRAPH][0])
    filled = {text(read_message(tensor), TENSOR_NAME) for tensor in graph.get(GRAPH_INITIALIZER, [])}
    names = (text(read_message(value), 1) for value in graph.get(GRAPH_INPUT, []))
    return [name for name in names if name not in filled]


def text(message: Message, number: int) -> str:
    """Return a text field; empty if it is missing."""
    return texts(message, number)[-1] if number in message else ""


def texts(message: Message, number: int) -> list[str]:
    """Return all text fields with a number."""
    return [bytes(value).decode("utf-8", "replace") for value in message.get(number, [])]


def _check_message(form: str, found: Mapping[int, Field]) -> None:
    """Refuse a message for its content. The types of its fields are checked already."""
    if form == "model" and MODEL_GRAPH not in found:
        raise _no_graph()
    if form == "function":
        raise ModelError("the ONNX file defines functions of its own; inline them (onnx.inliner) and save it again")
    if form == "node" and (domain := _text(found, NODE_DOMAIN)) not in STANDARD_DOMAINS:
        raise ModelError(
            f"the ONNX file uses the custom operator {_plain(domain)}.{_plain(_text(found, NODE_OP))}, wanted standard "
            "ones only; export the model without it"
        )
    if form == "node" and _text(found, NODE_OP) == "Loop":
        raise ModelError("the ONNX file holds a Loop, which may never end; export the model without it")
    if form == "tensor" and (TENSOR_EXTERNAL in found or _number(found, TENSOR_LOCATION)):
        raise ModelError("the ONNX file keeps weights in other files; save it with its weights inside")


def _no_graph() -> ModelError:
    return ModelError("not an ONNX file: it holds no graph; give a file that fiqa-export or torch.onnx has written")


def _text(found: Mapping[int, Field], number: int) -> str:
    value = found[number].value if number in found else b""
    return bytes(value).decode("utf-8", "replace")  # always bytes: other wire types were refused


def _number(found: Mapping[int, Field], number: int) -> object:
    return found[number].value if number in found else 0


def _plain(words: str) -> str:
    return ascii(words)[1:-1][:80]
