"""Read a published ONNX file: a float NCHW graph of any opset becomes one of opset 20 with a free batch."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, version_converter

from export.graph.ends import OPSET
from export.graph.rewrite import readable
from sdk.alignment import CROP_SIZE
from sdk.errors import ModelError


def read_published(path: Path) -> onnx.ModelProto:
    """Read an ONNX file and check that it is a quality network that takes float NCHW faces.

    Raises:
        ModelError: The file is damaged, has weights in other files or other operators, or another input or output.
    """
    with readable(path):
        model = onnx.load(path, load_external_data=False)
    domains = sorted({node.domain for node in model.graph.node} - {"", "ai.onnx"})
    if domains:
        raise ModelError(f"{path} uses operators of {', '.join(domains)}, wanted standard ONNX operators only")
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise ModelError(f"{path} keeps weights in other files, wanted one file; save it with its data inside")
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    found = ", ".join(_described(value) for value in inputs)
    wanted = (3, CROP_SIZE, CROP_SIZE)
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT or _shape(inputs[0])[1:] != wanted:
        raise ModelError(
            f"{path} takes {found or 'nothing'}, wanted one float input (N, 3, {CROP_SIZE}, {CROP_SIZE}); "
            "a file that takes uint8 faces is already exported"
        )
    outputs = model.graph.output
    if len(outputs) != 1 or _shape(outputs[0])[1:] not in ((1,), (None,)):
        found = ", ".join(_described(value) for value in outputs)
        raise ModelError(f"{path} gives {found}, wanted one output (N, 1); only quality networks can be exported")
    return model


def upgrade(published: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same network at opset 20, with a free batch size and weights that are no inputs.

    Raises:
        ModelError: An operator cannot be converted.
    """
    model = onnx.ModelProto()
    model.CopyFrom(published)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:], model.graph.value_info[:]
    model.graph.input.extend(inputs)
    _free_batch(model.graph)
    try:
        return version_converter.convert_version(model, OPSET)
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"cannot bring opset {_opset(published)} to {OPSET} ({error}); export the checkpoint (.pth) instead"
        ) from error


def _free_batch(graph: onnx.GraphProto) -> None:
    """Make the batch size free in a file that was traced with one face: in its ends and in constant reshapes."""
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    for node in graph.node:
        target = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if target is None:
            continue
        shape = numpy_helper.to_array(target).copy()
        if shape.size == 2 and shape[0] == 1:
            # 0 copies the batch from the input.
            target.CopyFrom(numpy_helper.from_array(np.array([0, shape[1]], np.int64), target.name))


def _opset(model: onnx.ModelProto) -> int:
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def _shape(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    """Return the sizes of a value; None for one that is free."""
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim)


def _described(value: onnx.ValueInfoProto) -> str:
    sizes = ", ".join("N" if size is None else str(size) for size in _shape(value))
    kind = TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
    return f"{value.name}: {kind} ({sizes})"
