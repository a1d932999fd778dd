"""Inspect an ONNX file: its content, and what each runtime does with it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from export.formats.facts import card_facts, counted
from export.formats.table import Facts
from export.graph.ends import IR_VERSION
from export.graph.rewrite import constants_of, value_types
from export.targets import targets
from sdk.errors import ModelError
from sdk.files import read_file
from sdk.models.card import METADATA_KEY, ModelCard
from sdk.models.formats import SUFFIXES
from sdk.models.loading import LARGEST
from sdk.onnx_bytes.onnx_file import check_onnx, read_metadata

_JETPACK_OPSET = targets()["jetson-orin"].opset or 0
_LAYERS = ("Conv", "Gemm", "MatMul")
_QUANTISED = "DequantizeLinear"


def inspect_onnx(path: Path) -> Facts:
    """Read an ONNX file: its card, its graph, and what each runtime will do with it."""
    data = read_file(path, ModelError, f"give a file that ends in one of: {', '.join(SUFFIXES)}", LARGEST)
    check_onnx(data)
    model = onnx.load_from_string(data)
    graph = model.graph
    text = read_metadata(data).get(METADATA_KEY)
    card = ModelCard.from_json(text) if text else None
    types = value_types(model)
    constants = constants_of(graph)
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    layers = layer_precisions(graph, types)
    return {
        "bytes": f"{len(data):,}",
        **(card_facts(card) if card else {"model": "no card", "format": "onnx"}),
        "inputs": _ends(value for value in graph.input if value.name not in constants),
        "outputs": _ends(graph.output),
        "opset, IR": f"{opset}, {model.ir_version}",
        "operators": counted(Counter(node.op_type for node in graph.node)),
        "layers compute in": counted(layers),
        "weights": _weights(constants.values()),
        **_runtimes(card, layers, {node.op_type for node in graph.node}, opset, model.ir_version),
    }


def layer_precisions(graph: onnx.GraphProto, types: Mapping[str, int]) -> Counter[str]:
    """Count convolutions and matrix products by the precision that they compute in.

    It is `int8` if both inputs are dequantised values.
    """
    makers = {name: node.op_type for node in graph.node for name in node.output}
    found: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type in _LAYERS:
            quantised = all(makers.get(name) == _QUANTISED for name in node.input[:2])
            found["int8" if quantised else _short(types.get(node.output[0], 0))] += 1
    return found


def _runtimes(
    card: ModelCard | None, layers: Mapping[str, int], operators: set[str], opset: int, ir_version: int
) -> Facts:
    """Say what each runtime does with an ONNX file."""
    fp16, int8 = bool(layers.get("fp16")), bool(layers.get("int8"))
    sdk = "" if card else "fiqa needs a card: card=...; "
    if int8:
        cpu = "runs; the layers compute in float, slower than an fp32 file"
    elif fp16:
        cpu = "runs; fp16 is converted to fp32, slower than an fp32 file"
    else:
        cpu = "runs in fp32" + ("; fiqa rewrites PReLU for speed" if "PRelu" in operators else "")
    versions = []
    if ir_version > IR_VERSION:
        versions.append(f"needs onnxruntime 1.18 or newer (IR {ir_version})")
    if opset > _JETPACK_OPSET:
        versions.append(f"JetPack 6 cannot read opset {opset}")
    return {
        "onnxruntime, CPU": sdk + "; ".join([cpu, *versions]),
        "onnxruntime, CUDA": sdk + "; ".join(["runs; Q and DQ are computed in float" if int8 else "runs", *versions]),
        "OpenVINO": "runs"
        + ("; Q and DQ become int8 kernels" if int8 else "")
        + ("; computes in fp32" if fp16 else ""),
        "OpenCV DNN": "not proven: it is for fp32 files" if fp16 or int8 else "runs",
        "TensorRT 10, 11": _tensorrt(layers, opset),
        "TensorRT-RTX": _tensorrt(layers, opset)
        + ("; not on Turing, which runs fp16 only" if set(layers) - {"fp16"} else ""),
    }


def _tensorrt(layers: Mapping[str, int], opset: int) -> str:
    if opset > _JETPACK_OPSET:
        return f"needs a parser for opset {opset}"
    return f"builds, strongly typed: {counted(Counter(layers))}"


def _ends(values: Iterable[Any]) -> str:
    return ", ".join(
        f"{value.name}: {_short(value.type.tensor_type.elem_type)} "
        f"({', '.join(str(dim.dim_param or dim.dim_value or '?') for dim in value.type.tensor_type.shape.dim)})"
        for value in values
    )


def _weights(tensors: Iterable[onnx.TensorProto]) -> str:
    counts: Counter[str] = Counter()
    for tensor in tensors:
        counts[_short(tensor.data_type)] += int(np.prod(numpy_helper.to_array(tensor).shape))
    return ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())


def _short(kind: int) -> str:
    name = TensorProto.DataType.Name(kind).lower()
    return {"float": "fp32", "float16": "fp16", "undefined": "unknown"}.get(name, name)
