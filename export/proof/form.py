"""Read an exported file back, and check its form."""

from pathlib import Path

import onnx
from onnx import TensorProto

from export.graph.ends import IR_VERSION, OPSET, Ends, read_end
from sdk.errors import ModelError


def check_form(path: Path, ends: Ends) -> None:
    """Check operator set, IR version, input and output of a file, and that nothing is outside the file.

    Args:
        path: The ONNX file.
        ends: Input and output that it must have.

    Raises:
        ModelError: The file has another form, or is not valid ONNX.
    """
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    found = {
        "operator sets": {entry.domain: entry.version for entry in model.opset_import},
        "IR version": model.ir_version,
        "operator domains": sorted({node.domain for node in graph.node}),
        "external data": any(tensor.data_location == TensorProto.EXTERNAL for tensor in graph.initializer),
        "input": [tuple(read_end(value)) for value in graph.input],
        "output": [tuple(read_end(value)) for value in graph.output],
    }
    wanted = {
        "operator sets": {"": OPSET},
        "IR version": IR_VERSION,
        "operator domains": [""],
        "external data": False,
        "input": [tuple(ends.source)],
        "output": [tuple(output) for output in ends.outputs],
    }
    for what, value in found.items():
        if value != wanted[what]:
            raise ModelError(
                f"the exported file's {what}: {value}, wanted {wanted[what]}; report this with the weights"
            )
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"the exported file is not valid ONNX: {error}") from error
