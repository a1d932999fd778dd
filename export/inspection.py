"""`fiqa-export inspect`: what a model file is, and what each runtime will do with it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from export.graph.rewrite import constants_of, readable, value_types
from export.targets import targets
from sdk.errors import FiqaError, ModelError
from sdk.files import read_file
from sdk.models.card import METADATA_KEY, ModelCard
from sdk.models.formats import FORMATS, SUFFIXES
from sdk.models.loading import LARGEST, load_model
from sdk.onnx_bytes.onnx_file import check_onnx, read_metadata

JETPACK_OPSET, OLD_IR = targets()["jetson-orin"].opset or 0, 9
_LAYERS = ("Conv", "Gemm", "MatMul")
_QUANTISED = "DequantizeLinear"

Facts = dict[str, str]
"""What was found, by the name of the row."""


def inspect_file(path: Path) -> Facts:
    """Look into a model file; nothing in it is run.

    Args:
        path: `.onnx`, `.xml` or `.engine`.

    Returns:
        Facts in a fixed order; `error` where the file cannot be read or may not be loaded.
    """
    look = {
        FORMATS["onnx"].suffix: _inspect_onnx,
        FORMATS["openvino"].suffix: _inspect_openvino,
        FORMATS["tensorrt"].suffix: _inspect_engine,
    }.get(path.suffix.lower())
    try:
        if look is None:
            raise ModelError(f"{path.suffix or 'no suffix'} is no model file, wanted one of: {', '.join(SUFFIXES)}")
        with readable(path):
            return look(path)
    except FiqaError as error:
        return {"error": str(error)}


def _of_card(card: ModelCard) -> Facts:
    return {
        "model": f"{card.name} ({card.variant})" if card.variant not in ("", card.name) else card.name,
        "format": card.format,
        "precision": card.precision,
        "proven": "yes" if card.proven else "no; run fiqa verify on its device",
        "verification": ", ".join(f"{name} {value:g}" for name, value in card.verification.items()) or "none",
        "licence": card.licence,
        "source": f"{card.source}, SHA-256 {card.source_sha256[:12] or 'unknown'}",
    }


def _inspect_onnx(path: Path) -> Facts:
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
        **(_of_card(card) if card else {"model": "no card", "format": "onnx"}),
        "inputs": _ends(value for value in graph.input if value.name not in constants),
        "outputs": _ends(graph.output),
        "opset, IR": f"{opset}, {model.ir_version}",
        "operators": _counted(Counter(node.op_type for node in graph.node)),
        "layers compute in": _counted(layers),
        "weights": _weights(constants.values()),
        **_runtimes(card, layers, {node.op_type for node in graph.node}, opset, model.ir_version),
    }


def layer_precisions(graph: onnx.GraphProto, types: Mapping[str, int]) -> Counter[str]:
    """How many convolutions and matrix products compute in what: `int8` where both sides come out of eight bits."""
    makers = {name: node.op_type for node in graph.node for name in node.output}
    found: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type in _LAYERS:
            eight = all(makers.get(name) == _QUANTISED for name in node.input[:2])
            found["int8" if eight else _short(types.get(node.output[0], 0))] += 1
    return found


def _runtimes(
    card: ModelCard | None, layers: Mapping[str, int], operators: set[str], opset: int, ir_version: int
) -> Facts:
    """What each runtime does with an ONNX file."""
    half, eight = bool(layers.get("fp16")), bool(layers.get("int8"))
    sdk = "" if card else "fiqa needs a card: card=...; "
    if eight:
        cpu = "runs; the layers compute in float, and are slower than fp32"
    elif half:
        cpu = "runs; fp16 is turned into fp32, and is slower than fp32"
    else:
        cpu = "runs in fp32" + ("; fiqa rewrites PReLU for speed" if "PRelu" in operators else "")
    versions = []
    if ir_version > OLD_IR:
        versions.append(f"needs onnxruntime 1.18 or newer (IR {ir_version})")
    if opset > JETPACK_OPSET:
        versions.append(f"JetPack 6 cannot read opset {opset}")
    return {
        "onnxruntime, CPU": sdk + "; ".join([cpu, *versions]),
        "onnxruntime, CUDA": sdk + "; ".join(["runs; Q and DQ are computed in float" if eight else "runs", *versions]),
        "OpenVINO": "runs"
        + ("; Q and DQ become int8 kernels" if eight else "")
        + ("; computes in fp32" if half else ""),
        "OpenCV DNN": "not proven: made for fp32 files" if half or eight else "runs",
        "TensorRT 10, 11": _tensorrt(layers, opset),
        "TensorRT-RTX": _tensorrt(layers, opset)
        + ("; not for Turing, which takes fp16 alone" if set(layers) - {"fp16"} else ""),
    }


def _tensorrt(layers: Mapping[str, int], opset: int) -> str:
    if opset > JETPACK_OPSET:
        return f"needs a parser for opset {opset}"
    return f"builds, strongly typed: {_counted(Counter(layers))}"


def _inspect_openvino(path: Path) -> Facts:
    loaded = load_model(path, trust=True)  # nothing of it is run
    if b"<!DOCTYPE" in loaded.data or b"\0" in loaded.data:
        raise ModelError(f"{path} defines entities or is not UTF-8, as no OpenVINO IR does; export it again")
    try:
        root = ElementTree.fromstring(loaded.data)
    except ElementTree.ParseError as error:
        raise ModelError(f"{path} is no XML ({error}); export it again") from error
    kinds = [layer.get("type", "") for layer in root.iter("layer")]
    ends = {
        kind: ", ".join(
            f"{layer.get('name')}: {'x'.join(dim.text or '' for dim in layer.iter('dim'))}"
            for layer in root.iter("layer")
            if layer.get("type") == kind
        )
        for kind in ("Parameter", "Result")
    }
    types = Counter(
        data.get("element_type", "") for layer in root.iter("layer") if layer.get("type") == "Const"
        for data in layer.iter("data")
    )  # fmt: skip
    elsewhere = ("onnxruntime, CPU", "onnxruntime, CUDA", "OpenCV DNN", "TensorRT 10, 11", "TensorRT-RTX")
    return {
        "bytes": f"{len(loaded.data) + len(loaded.weights):,}",
        **_of_card(loaded.card),
        "inputs": ends["Parameter"],
        "outputs": ends["Result"],
        "opset, IR": f"-, OpenVINO IR {root.get('version')}",
        "operators": _counted(Counter(kind for kind in kinds if kind not in ("Const", "Parameter", "Result"))),
        "weights": _counted(types) + " constants",
        "OpenVINO": f"runs; written by {loaded.card.engine.version or 'an unknown version'}",
        **dict.fromkeys(elsewhere, "-"),
    }


def _inspect_engine(path: Path) -> Facts:
    """An engine is code: only its card is read."""
    loaded = load_model(path, trust=True)
    card, engine = loaded.card, loaded.card.engine
    library = "TensorRT-RTX" if card.format == "tensorrt-rtx" else "TensorRT 10, 11"
    where = f"compute capability {', '.join(engine.architectures)}"
    return {
        "bytes": f"{len(loaded.data):,}",
        **_of_card(card),
        "layers compute in": _counted(Counter(engine.layers)),
        "built": f"{engine.version or '?'} for {engine.target or where}",
        "batches": ", ".join(map(str, engine.batches)),
        "rebuild": engine.command,
        **dict.fromkeys(("onnxruntime, CPU", "onnxruntime, CUDA", "OpenVINO", "OpenCV DNN", "TensorRT 10, 11"), "-"),
        "TensorRT-RTX": "-",
        library: f"runs in version {engine.version or '?'} on {where} alone",
    }


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


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in Counter(counts).most_common()) or "unknown"
