"""The face detector as ONNX: uint8 BGR NHWC pictures of any size in, the values of all cells out, proven."""

import dataclasses
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from export.graph.from_torch import trace
from export.graph.front_end import IR_VERSION
from export.metadata import with_card
from export.sources.checkpoint import trained_facts
from sdk.detection.networks import STRIDES
from sdk.errors import ModelError
from sdk.files import check_outputs, read_file, replacing, write_file
from sdk.images.decoding import load_image
from sdk.models.card import InputSpec, ModelCard
from train.detector.network import VALUES, FaceCells
from train.networks import load_state, read_state

NAME, INPUT, OUTPUT = "fiqa-detector", "images", "cells"

TOLERANCE = 1e-4
"""Largest difference of a value that is accepted, as its share where it is larger than 1."""

SIZES = ((64, 96), (97, 50), (240, 320), (1, 33))
"""Heights and widths that the file is proven on; those that are no multiple of 32 show the border that it adds."""


def export_detector(weights: Path, out: Path = Path()) -> Path:
    """Write `<out>/fiqa-detector.onnx`, or nothing at all.

    Args:
        weights: `.safetensors` of `fiqa-train fit detector`.
        out: Folder, made where it is missing.

    Returns:
        Path of the file.

    Raises:
        ModelError: The weights are not of this network, or the file differs from it.
    """
    network, path = FaceCells(), out / f"{NAME}.onnx"
    check_outputs({"--out": path}, [weights])
    load_state(network, read_state(weights), f"{weights} as {NAME}")
    model = _any_size(_traced(_TakesImages(network.eval())))
    digest = sha256(read_file(weights, ModelError, "give --weights a checkpoint")).hexdigest()
    card = ModelCard.from_dict({**_facts(weights), "source_sha256": digest})
    with replacing(path) as draft:
        write_file(draft, with_card(model, card))
        onnx.checker.check_model(draft, full_check=True)
        found = _differences(draft, network)
        write_file(draft, with_card(model, dataclasses.replace(card, verification=found)))
    return path


class _TakesImages(nn.Module):
    """The network with colour order, layout and normalisation in it."""

    def __init__(self, network: FaceCells) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.flip(-1).permute(0, 3, 1, 2).float() / 127.5 - 1)


def _traced(network: nn.Module) -> onnx.ModelProto:
    """uint8 (batch, 32 h, 32 w, 3) -> float32 (batch, cells, 15)."""
    batch, rows, columns = (torch.export.Dim(name, min=1) for name in ("batch", "rows", "columns"))
    sample = torch.zeros(2, 3 * STRIDES[-1], 5 * STRIDES[-1], 3, dtype=torch.uint8)
    return trace(network, sample, INPUT, OUTPUT, {0: batch, 1: STRIDES[-1] * rows, 2: STRIDES[-1] * columns})


def _any_size(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let the graph begin with a black border on the right and below, up to multiples of the largest stride."""
    graph = model.graph
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == INPUT:
                node.input[index] = "bordered"
    constants = {"per": np.array(STRIDES[-1]), "sides": np.array([0, 1, 1, 0]), "before": np.zeros(4)}
    graph.initializer.extend(numpy_helper.from_array(value.astype(np.int64), name) for name, value in constants.items())
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Shape", [INPUT], "shape", {}),
        ("Neg", ["shape"], "less", {}),
        ("Mod", ["less", "per"], "missing", {}),
        ("Mul", ["missing", "sides"], "after", {}),
        ("Concat", ["before", "after"], "border", {"axis": 0}),
        ("Pad", [INPUT, "border"], "bordered", {}),
    ]
    nodes = [helper.make_node(op, inputs, [result], f"front_{op}", **more) for op, inputs, result, more in steps]
    nodes += list(graph.node)
    del (
        graph.node[:],
        graph.input[:],
        graph.output[:],
        graph.value_info[:],
        graph.metadata_props[:],
        model.metadata_props[:],
    )
    graph.node.extend(nodes)
    for part in (*graph.node, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", "height", "width", 3]))
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", "cells", VALUES]))
    graph.name, graph.doc_string, model.doc_string = "fiqa", "", ""
    model.producer_name, model.producer_version, model.ir_version = "fiqa-export", "", IR_VERSION
    return model


def _differences(path: Path, network: FaceCells) -> dict[str, float]:
    """Largest difference of a value from the torch network's, for each of `SIZES`, all on one session.

    Raises:
        ModelError: It is too large.
    """
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    face = load_image(Path(__file__).with_name("face.png"))
    found = {}
    for height, width in SIZES:
        picture = np.resize(face, (2, height, width, 3))
        expected = _expected(network, picture)
        apart = np.abs(session.run([OUTPUT], {INPUT: picture})[0] - expected) / np.maximum(1, np.abs(expected))
        difference = apart.max()
        found[f"onnxruntime, {width} x {height}"] = float(f"{difference:.1e}")
    worst = max(found, key=lambda key: found[key])
    if not found[worst] <= TOLERANCE:
        raise ModelError(f"the exported file differs from the network by {json.dumps(found)}, wanted {TOLERANCE}")
    return found


def _expected(network: FaceCells, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The torch network's values, its input made here once more so that the front end is checked too."""
    height, width = (-(-side // STRIDES[-1]) * STRIDES[-1] for side in pictures.shape[1:3])
    bordered = np.zeros((len(pictures), height, width, 3), np.float64)
    bordered[:, : pictures.shape[1], : pictures.shape[2]] = pictures
    values = (bordered[..., ::-1].transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.inference_mode():
        return network(torch.from_numpy(values.astype(np.float32))).numpy()


def _facts(weights: Path) -> dict[str, object]:
    """What `fiqa-train` wrote into the weights, and what is so of every detector."""
    spec = dataclasses.asdict(InputSpec(height=0, width=0))
    return {
        **trained_facts(weights),
        "name": NAME,
        "variant": NAME,
        "task": "detection",
        "input": spec,
        "output": OUTPUT,
    }
