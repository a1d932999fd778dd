"""Scores of an exported file in its runtimes, computed in a process of their own.

A runtime may crash on a graph, as OpenCV's importer is known to do, and what it keeps of a model should not stay in the
user's cache. A process that is started so needs no main guard in the script that exports.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from export.graph.front_end import INPUT, OUTPUT
from sdk import errors
from sdk.errors import FiqaError, ModelError
from sdk.files import write_errors, write_file
from sdk.models.formats import ENGINES

BATCHES = (1, 3, 16)
"""Batch sizes that are tried, in this order, on one session: a change of the batch is what breaks runtimes."""

Faces = NDArray[np.uint8]
Scores = NDArray[np.float32]
ScoresOf = Callable[[Path, Faces], list[Scores]]
"""Scores all faces once for each of `BATCHES`."""

WORKER = ("-m", "export.proof.runtimes")
"""What Python is told to run."""


def scores_apart(runtime: str, path: Path, faces: Faces) -> list[Scores]:
    """Score all faces in a runtime, once for each of `BATCHES`.

    Args:
        runtime: Name in `RUNTIMES`.
        path: The exported file; its folder is the process's cache.
        faces: uint8 BGR (N, 112, 112, 3).

    Raises:
        FiqaError: What the runtime raised, or a `ModelError` where it crashed.
        OutputError: The disk of temporary files is full.
    """
    with write_errors(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory(prefix="fiqa-") as name:
        folder = Path(name)
        np.save(folder / "faces.npy", faces)
        command = [sys.executable, *WORKER, runtime, str(path.absolute()), name]
        subprocess.run(
            command, cwd=Path(__file__).parents[2], env={**os.environ, "FIQA_CACHE": str(path.parent.absolute())},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if (folder / "error.json").exists():
            found = json.loads((folder / "error.json").read_text(encoding="utf-8"))
            kind: type[FiqaError] = getattr(errors, found["kind"], ModelError)
            raise kind(found["message"])
        if not (folder / "scores.npy").exists():
            raise ModelError(f"{runtime} crashed on the exported file; export the checkpoint (.pth) instead")
        return list(np.load(folder / "scores.npy"))


def runtimes_for(style: str, precision: str) -> tuple[str, ...]:
    """Names of the runtimes that a file must score well in."""
    if style == "openvino":
        return ("openvino",)
    if style in ENGINES:
        return ("engine",)
    return ("onnxruntime", "fiqa", "OpenCV DNN") if precision == "fp32" else ("onnxruntime", "fiqa")


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
    except cv2.error as error:
        raise ModelError(f"OpenCV DNN refuses the exported file: {error}") from error


RUNTIMES: dict[str, ScoresOf] = {
    "onnxruntime": _onnxruntime, "fiqa": _sdk, "OpenCV DNN": _opencv, "openvino": _sdk, "engine": _engine,
}  # fmt: skip
"""Every runtime that a file is proven in; `fiqa` is the SDK's own session, rewritten for speed."""


def main(runtime: str, path: str, folder: str) -> None:
    """Score `faces.npy` of a folder and write `scores.npy`, or `error.json`, there."""
    results = Path(folder)
    try:
        scores = RUNTIMES[runtime](Path(path), np.load(results / "faces.npy"))
    except Exception as error:  # noqa: BLE001  # the runtimes' errors have no base class of their own
        kind = type(error).__name__ if isinstance(error, FiqaError) else "ModelError"
        words = str(error) if isinstance(error, FiqaError) else f"{runtime} refuses the exported file: {error}"
        write_file(results / "error.json", json.dumps({"kind": kind, "message": words}))
        return
    np.save(results / "scores.npy", np.stack(scores))


if __name__ == "__main__":
    main(*sys.argv[1:])
