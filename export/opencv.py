"""Files for OpenCV DNN: a model with one fixed size of its input, in operators that OpenCV 4.6 to 5 read."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from export.file_card import add_card
from export.graph.rewrite import constants_of, readable
from sdk.alignment import CROP_SIZE
from sdk.errors import InputError, ModelError
from sdk.files import write_file
from sdk.models.loading import Model, load_model

OPSET = 10
"""OpenCV 4.6 reads Clip as it was before opset 11: its limits are attributes."""

MULTIPLE = 32
"""A side of the detector's input is a multiple of it, so that the file needs no border."""

TOLERANCE = 1e-4
"""Largest difference of an output from the model's, as a share of the value if that is larger than 1."""


@dataclass(frozen=True, slots=True)
class OpenCvFile:
    """A file for OpenCV DNN.

    Attributes:
        path: The file.
        shape: Shape of its input: 1, height, width, 3.
        difference: Largest difference of its outputs from the model's, in onnxruntime.
    """

    path: Path
    shape: tuple[int, int, int, int]
    difference: float


def export_for_opencv(model: str | Path, out: Path, side: int = 512) -> OpenCvFile:
    """Write an fp32 ONNX model as a file that OpenCV DNN 4.6 to 5 reads, and compare it with the model.

    The file takes one picture a call: float32 BGR (1, height, width, 3), values from 0 to 255.

    Args:
        model: Name in the catalogue, or path of an .onnx file.
        out: File to write.
        side: Height and width of the picture that a detector takes. A quality model takes faces of 112 x 112.

    Raises:
        InputError: `side` is no multiple of 32.
        ModelError: The model cannot be read or rewritten, or the file gives other values.
    """
    if side < MULTIPLE or side % MULTIPLE:
        raise InputError(f"the side is {side}, wanted a multiple of {MULTIPLE}, such as 512")
    loaded = load_model(model)
    if loaded.card.format != "onnx" or loaded.card.precision != "fp32":
        raise ModelError(f"{loaded.path} is {loaded.card.format} in {loaded.card.precision}, wanted ONNX in fp32")
    shape = (1, side, side, 3) if loaded.card.task == "detection" else (1, CROP_SIZE, CROP_SIZE, 3)
    if (loaded.card.input.dtype, loaded.card.input.layout) != ("uint8", "NHWC"):
        raise ModelError(f"{loaded.path} takes no uint8 pictures; export it first: fiqa-export --weights {loaded.path}")
    values = {"dtype": "float32", "mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}  # 0 to 255, as they are
    card = replace(loaded.card, input=replace(loaded.card.input, **values))  # type: ignore[arg-type]
    with readable(loaded.path):
        data = add_card(_rewritten(loaded, shape), card)
    difference = _difference(loaded, data, shape)
    if not difference <= TOLERANCE:
        raise ModelError(f"the file for OpenCV differs from {loaded.path} by {difference:.1e}, wanted {TOLERANCE:.0e}")
    write_file(out, data)
    return OpenCvFile(out, shape, difference)


def _rewritten(model: Model, shape: tuple[int, ...]) -> onnx.ModelProto:
    """Fix all sizes, compute what follows from them, and replace what one of the versions of OpenCV does not read."""
    fixed = onnx.load_from_string(model.data)
    for dimension, size in zip(fixed.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        dimension.dim_value = size
    folded = _fold(fixed)
    folded.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    del folded.opset_import[:], folded.graph.value_info[:]
    folded.opset_import.append(helper.make_opsetid("", OPSET))
    _replace_nodes(folded.graph)
    read = {name for node in folded.graph.node for name in node.input}
    for tensor in [one for one in folded.graph.initializer if one.name not in read]:
        folded.graph.initializer.remove(tensor)
    onnx.checker.check_model(folded, full_check=True)
    return folded


def _replace_nodes(graph: onnx.GraphProto) -> None:
    nodes, constants = list(graph.node), constants_of(graph)
    del graph.node[:]
    renamed: dict[str, str] = {}
    swaps = False
    for node in nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        reads_picture = node.input[0] == graph.input[0].name
        if reads_picture and node.op_type == "Slice":  # BGR to RGB; OpenCV 4.6 has no steps of -1
            swaps = True
        elif node.op_type == "Cast" or _is_empty_border(node, constants):
            pass
        elif node.op_type == "Gelu":
            graph.node.extend(_gelu(node, graph))
            continue
        else:
            if swaps and node.op_type == "Conv":  # the first one takes BGR instead; what is before it treats all alike
                weights = constants[node.input[1]]
                weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights)[:, ::-1].copy(), weights.name))
                swaps = False
            graph.node.append(_older(node, constants))
            continue
        renamed[node.output[0]] = node.input[0]


def _fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute the constant parts of a graph by onnxruntime."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def _older(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> onnx.NodeProto:
    """Return a node as it is written in opset 10. What that cannot say, the comparison finds."""
    if node.op_type == "Clip":
        limits = {
            name: float(numpy_helper.to_array(constants[value]))
            for name, value in zip(("min", "max"), node.input[1:], strict=False)
            if value
        }
        return helper.make_node("Clip", node.input[:1], node.output, node.name, None, None, None, **limits)
    if node.op_type == "Resize":
        return helper.make_node("Resize", [node.input[0], node.input[2]], node.output, node.name, mode="nearest")
    if node.op_type == "Reshape":
        return helper.make_node("Reshape", node.input, node.output, node.name)
    return node


def _is_empty_border(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    return node.op_type == "Pad" and not numpy_helper.to_array(constants[node.input[1]]).any()


def _gelu(node: onnx.NodeProto, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return x / 2 (1 + erf(x / sqrt 2)) in older operators."""
    (x,), (y,) = node.input, node.output
    for name, value in (("root", 0.5**0.5), ("one", 1.0), ("half", 0.5)):
        graph.initializer.append(numpy_helper.from_array(np.array([value], np.float32), f"{y}_{name}"))
    return [
        helper.make_node("Mul", [x, f"{y}_root"], [f"{y}_scaled"], name=f"{y}_scaled"),
        helper.make_node("Erf", [f"{y}_scaled"], [f"{y}_erf"], name=f"{y}_erf"),
        helper.make_node("Add", [f"{y}_erf", f"{y}_one"], [f"{y}_sum"], name=f"{y}_sum"),
        helper.make_node("Mul", [x, f"{y}_sum"], [f"{y}_double"], name=f"{y}_double"),
        helper.make_node("Mul", [f"{y}_double", f"{y}_half"], [y], name=f"{y}_gelu"),
    ]


def _difference(model: Model, data: bytes, shape: tuple[int, ...]) -> float:
    """Return the largest difference of two models' outputs on noise."""
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    wanted, found = _run(model.data, picture), _run(data, picture.astype(np.float32))
    return float((np.abs(found - wanted) / np.maximum(1, np.abs(wanted))).max())


def _run(data: bytes, picture: NDArray[Any]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: picture})[0]
    return found
