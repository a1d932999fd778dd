"""Step 3: prove the file: its form, and its scores in every runtime against the network that it was made from."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from export.graph.front_end import INPUT, IR_VERSION, OPSET, OUTPUT
from export.proof.runtimes import BATCHES, Faces, Scores, scores_apart
from sdk.alignment import CROP_SIZE
from sdk.errors import ModelError
from sdk.proof.verify import Agreement, compare_scores, find_failures


def check_form(path: Path) -> None:
    """Read a written file back: operator set, IR version, ends, nothing outside the file.

    Raises:
        ModelError: Something is not as every exported file has it.
    """
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    found = {
        "operator sets": {entry.domain: entry.version for entry in model.opset_import},
        "IR version": model.ir_version,
        "operator domains": sorted({node.domain for node in graph.node}),
        "external data": any(tensor.data_location == TensorProto.EXTERNAL for tensor in graph.initializer),
        "input": [_end(value) for value in graph.input],
        "output": [_end(value) for value in graph.output],
    }
    wanted = {
        "operator sets": {"": OPSET},
        "IR version": IR_VERSION,
        "operator domains": [""],
        "external data": False,
        "input": [(INPUT, TensorProto.UINT8, ["batch", CROP_SIZE, CROP_SIZE, 3])],
        "output": [(OUTPUT, TensorProto.FLOAT, ["batch", 1])],
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


def compare(path: Path, faces: Faces, expected: Scores, runtimes: Sequence[str]) -> dict[str, Agreement]:
    """Score faces in runtimes and compare.

    Args:
        path: The exported file.
        faces: uint8 BGR (N, 112, 112, 3); N at least the largest batch.
        expected: (N,) scores of the original network.
        runtimes: Names in `export.proof.runtimes.RUNTIMES`.

    Returns:
        How the scores agree, by runtime and batch size: `onnxruntime, batch 1` ...

    Raises:
        ModelError: A runtime refuses the file or crashes on it.
        DeviceError: A runtime is not installed.
    """
    return {
        f"{runtime}, batch {batch}": compare_scores(scores, expected)
        for runtime in runtimes
        for batch, scores in zip(BATCHES, scores_apart(runtime, path, faces), strict=True)
    }


def failures_of(agreements: Mapping[str, Agreement], precision: str) -> tuple[str, ...]:
    """What is beyond the tolerance of a precision, in words, each once; empty where nothing is."""
    places: dict[str, str] = {}
    for place, agreement in agreements.items():
        for failure in find_failures(agreement, precision):
            places.setdefault(failure, place)
    return tuple(f"{place}: {failure}" for failure, place in places.items())


def figures(agreements: Mapping[str, Agreement]) -> dict[str, float]:
    """What a card keeps: the largest difference by runtime and batch, and the worst of the other figures.

    Two digits are kept of a difference, and five decimals of a correlation. Of scores that are no numbers there are no
    figures.
    """
    if not all(found.finite for found in agreements.values()):
        return {place: _rounded(found.largest) for place, found in agreements.items() if math.isfinite(found.largest)}
    return {
        **{place: _rounded(found.largest) for place, found in agreements.items()},
        "mean": _rounded(max(found.mean for found in agreements.values())),
        "shift": _rounded(max((found.shift for found in agreements.values()), key=abs)),
        "spearman": round(min(found.spearman for found in agreements.values()), 5),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.1e}")


def normalised(faces: Faces, mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """What the network itself takes, computed here once more so that the front end is checked too.

    Returns:
        float32 (N, 3, 112, 112), RGB.
    """
    rgb = (faces[..., ::-1] / 255.0 - mean) / std
    return np.ascontiguousarray(rgb.transpose(0, 3, 1, 2), dtype=np.float32)


def _end(value: onnx.ValueInfoProto) -> tuple[str, int, list[str | int]]:
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
