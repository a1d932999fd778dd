"""What an ONNX file says of itself, and whether it may be loaded: read from its bytes, without the onnx package.

Field numbers are those of onnx.proto3.
"""

from sdk.errors import ModelError
from sdk.models.protobuf import read_message, read_numbers

MODEL_IR, MODEL_GRAPH, MODEL_OPSETS, MODEL_METADATA, MODEL_FUNCTIONS = 1, 7, 8, 14, 25
OPSET_DOMAIN, OPSET_VERSION = 1, 2
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_SPARSE_INITIALIZER = 1, 5, 11, 15
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_OP, NODE_ATTRIBUTE, NODE_DOMAIN = 1, 2, 3, 4, 5, 7
ATTRIBUTE_NAME, ATTRIBUTE_INT, ATTRIBUTE_TENSOR, ATTRIBUTE_TYPE = 1, 3, 5, 20
ATTRIBUTE_GRAPHS, ATTRIBUTE_TENSORS, ATTRIBUTE_SPARSE = (6, 11), (5, 10), (22, 23)
TENSOR_DIMS, TENSOR_TYPE, TENSOR_FLOATS, TENSOR_NAME, TENSOR_RAW = 1, 2, 4, 8, 9
TENSOR_EXTERNAL, TENSOR_LOCATION = 13, 14

STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")

Message = dict[int, list[memoryview]]


def read_metadata(data: bytes) -> dict[str, str]:
    """The `metadata_props` of an ONNX file.

    Raises:
        ModelError: The bytes are not an ONNX file.
    """
    entries = [read_message(entry) for entry in read_message(data).get(MODEL_METADATA, [])]
    return {text(entry, 1): text(entry, 2) for entry in entries}


def check_onnx(data: bytes) -> None:
    """Refuse what a model file must not have: weights in other files, operators of its own.

    Raises:
        ModelError: The bytes are no ONNX file, or one with external data, custom operators or functions.
    """
    model = read_message(data)
    graphs = model.get(MODEL_GRAPH, [])
    if len(graphs) != 1 or GRAPH_NODE not in read_message(graphs[0]):
        raise ModelError("not an ONNX file: it holds no graph; give a file that fiqa-export or torch.onnx has written")
    if MODEL_FUNCTIONS in model:
        raise ModelError("the ONNX file defines functions of its own; inline them (onnx.inliner) and save it again")
    _check_graph(graphs[0])


def read_versions(data: bytes) -> tuple[int, int]:
    """The version of ONNX's own operator set, and that of the IR, of a file that `check_onnx` has passed."""
    standard = [
        opset
        for opset in read_message(data).get(MODEL_OPSETS, [])
        if text(read_message(opset), OPSET_DOMAIN) in ("", "ai.onnx")
    ]
    opsets = [number for opset in standard for number in read_numbers(opset, OPSET_VERSION)]
    return max(opsets, default=0), max(read_numbers(data, MODEL_IR), default=0)


def input_names(data: bytes) -> list[str]:
    """Names of a graph's inputs, without those that initialisers fill."""
    graph = read_message(read_message(data)[MODEL_GRAPH][0])
    filled = {text(read_message(tensor), TENSOR_NAME) for tensor in graph.get(GRAPH_INITIALIZER, [])}
    names = (text(read_message(value), 1) for value in graph.get(GRAPH_INPUT, []))
    return [name for name in names if name not in filled]


def text(message: Message, number: int) -> str:
    """A text field, empty when it is not there."""
    return bytes(message.get(number, [memoryview(b"")])[-1]).decode("utf-8", "replace")


def _check_graph(data: memoryview) -> None:
    graph = read_message(data)
    _check_tensors(graph, (GRAPH_INITIALIZER,), (GRAPH_SPARSE_INITIALIZER,))
    for node in map(read_message, graph.get(GRAPH_NODE, [])):
        domain = text(node, NODE_DOMAIN)
        if domain not in STANDARD_DOMAINS:
            raise ModelError(
                f"the ONNX file uses the custom operator {domain}.{text(node, NODE_OP)}, wanted standard ones only; "
                "export the model without it"
            )
        for attribute in map(read_message, node.get(NODE_ATTRIBUTE, [])):
            _check_tensors(attribute, ATTRIBUTE_TENSORS, ATTRIBUTE_SPARSE)
            for number in ATTRIBUTE_GRAPHS:
                for subgraph in attribute.get(number, []):
                    _check_graph(subgraph)


def _check_tensors(message: Message, dense: tuple[int, ...], sparse: tuple[int, ...]) -> None:
    tensors = [tensor for number in dense for tensor in message.get(number, [])]
    for number in sparse:
        for pair in map(read_message, message.get(number, [])):
            tensors += pair.get(1, []) + pair.get(2, [])  # values and indices
    for tensor in tensors:
        if TENSOR_EXTERNAL in read_message(tensor) or any(read_numbers(tensor, TENSOR_LOCATION)):
            raise ModelError("the ONNX file keeps weights in other files; save it with its weights inside")
