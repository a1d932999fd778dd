"""What tests of exports share: the packaged file with changes, and what is in a graph."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.formats.onnx_inspection import layer_precisions
from export.graph.rewrite import value_types
from sdk.models.card import METADATA_KEY
from sdk.models.catalog import catalog


def packaged() -> Path:
    """The packaged fiqa-nano: trained weights, exported in fp32."""
    path = catalog()["fiqa-nano"].embedded
    assert path is not None
    return path


def save_changed(path: Path, change: str = "", **card_fields: Any) -> Path:
    """The packaged model with another card, or with a change of its graph: `operator`, `external` or `input`."""
    model = onnx.load(packaged())
    card = json.loads(model.metadata_props[0].value)
    helper.set_model_props(model, {METADATA_KEY: json.dumps(card | card_fields)})
    if change == "operator":
        model.graph.node[-1].domain = "com.example"
    if change == "external":
        tensor = model.graph.initializer[0]
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "elsewhere.bin"
    if change == "input":
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    path.write_bytes(model.SerializeToString())
    return path


def graph_scores(model: onnx.ModelProto, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scores of faces, float32 (N,)."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"faces": faces})[0].reshape(-1)


def graph_layers(model: onnx.ModelProto) -> dict[str, int]:
    """How many convolutions and matrix products compute in each precision."""
    onnx.checker.check_model(model, full_check=True)
    return dict(layer_precisions(model.graph, value_types(model)))
