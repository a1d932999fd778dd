"""Step 3: prove the file: its form, and its scores in every runtime against the network that it was made from."""

import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto

from export.frontend import INPUT, IR_VERSION, OPSET, OUTPUT
from sdk.alignment import CROP_SIZE
from sdk.errors import ModelError
from sdk.proof import Agreement, compare_scores, find_failures

BATCHES = (1, 3, 16)
"""Batch sizes that are tried, in this order, on one session: a change of the batch is what breaks runtimes."""

Faces = NDArray[np.uint8]
Scores = NDArray[np.float32]
ScoresOf = Callable[[Path, Faces], list[Scores]]
"""Scores all faces once for each of `BATCHES`."""


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
        runtimes: Names in `RUNTIMES`.

    Returns:
        How the scores agree, by runtime and batch size: `onnxruntime, batch 1` ...

    Raises:
        ModelError: A runtime refuses the file or crashes on it.
        DeviceError: A runtime is not installed.
    """
    return {
        f"{runtime}, batch {batch}": compare_scores(scores, expected)
        for runtime in runtimes
        for batch, scores in zip(BATCHES, _apart(runtime, RUNTIMES[runtime], path, faces), strict=True)
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

    Two digits are kept of a difference, and five decimals of a correlation.
    """
    largest = {place: _rounded(found.largest) for place, found in agreements.items()}
    return {
        **largest,
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


def _in_batches(faces: Faces, score: Callable[[Faces], NDArray[np.generic]]) -> list[Scores]:
    """The scores of all faces, once for each batch size; the last batch may be smaller."""
    return [
        np.concatenate(
            [
                np.asarray(score(faces[start : start + batch]), np.float32).reshape(-1)
                for start in range(0, len(faces), batch)
            ]
        )
        for batch in BATCHES
    ]


def _apart(runtime: str, scores_of: ScoresOf, path: Path, faces: Faces) -> list[Scores]:
    """Score in a process of its own: OpenCV's importer is known to crash on some graphs, and the copy that fiqa's
    session keeps of a model should not stay in the user's cache."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_use_cache, initargs=(path.parent,)) as pool:
        try:
            return pool.submit(scores_of, path, faces).result()
        except BrokenProcessPool:
            raise ModelError(f"{runtime} crashed on the exported file; export the checkpoint (.pth) instead") from None


def _use_cache(folder: Path) -> None:
    os.environ["FIQA_CACHE"] = str(folder)


def _onnxruntime(path: Path, faces: Faces) -> list[Scores]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of every constant in float16
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return _in_batches(faces, lambda batch: session.run([OUTPUT], {INPUT: batch})[0])


def _sdk(path: Path, faces: Faces) -> list[Scores]:
    from sdk import QualityScorer

    with QualityScorer(path, "openvino" if path.suffix == ".xml" else "cpu", 1) as scorer:
        return _in_batches(faces, scorer.score_batch)


def _engine(path: Path, faces: Faces) -> list[Scores]:
    from sdk import QualityScorer

    with QualityScorer(path, trust=True) as scorer:  # it was built a moment ago
        return _in_batches(faces, scorer.score_batch)


def _opencv(path: Path, faces: Faces) -> list[Scores]:
    try:
        network = cv2.dnn.readNetFromONNX(str(path))

        def score(batch: Faces) -> NDArray[np.generic]:
            network.setInput(batch)
            return network.forward()

        return _in_batches(faces, score)
    except cv2.error as error:  # cannot be sent to the parent process as it is
        raise ModelError(f"OpenCV DNN refuses the exported file: {error}") from None


RUNTIMES: dict[str, ScoresOf] = {
    "onnxruntime": _onnxruntime, "fiqa": _sdk, "OpenCV DNN": _opencv, "openvino": _sdk, "engine": _engine,
}  # fmt: skip
"""Every runtime that a file is proven in; `fiqa` is the SDK's own session, rewritten for speed."""


def runtimes_for(style: str, precision: str) -> tuple[str, ...]:
    """Names of the runtimes that a file must score well in."""
    if style == "openvino":
        return ("openvino",)
    if style != "onnx":
        return ("engine",)
    return ("onnxruntime", "fiqa", "OpenCV DNN") if precision == "fp32" else ("onnxruntime", "fiqa")


def _end(value: onnx.ValueInfoProto) -> tuple[str, int, list[str | int]]:
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
