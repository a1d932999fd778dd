"""Score faces with an exported file in its runtimes, each in a process of its own.

A runtime may crash on a graph, as OpenCV's importer does, and what it caches of a model must not stay in the user's
cache. The process is started as a program, so a script that exports needs no main guard.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from export.graph.front_end import INPUT, OUTPUT
from sdk import errors
from sdk.errors import FiqaError, ModelError
from sdk.files import write_errors, write_file

BATCHES = (1, 3, 16)
"""Batch sizes that are tried, in this order, on one session. Runtimes fail when the batch size changes."""

Faces = NDArray[np.uint8]
Scores = NDArray[np.float32]
ScoresOf = Callable[[Path, Faces], list[Scores]]
"""Scores all faces with a file, once for each of `BATCHES`."""

ONE_OF_SEVERAL = ("onnxruntime", "fiqa")
"""Runtimes that take the output that is wanted of a file with several."""

WORKER = ("-m", "export.proof.runtimes")
"""Arguments of Python that start the process."""


def scores_apart(runtime: str, path: Path, faces: Faces) -> list[Scores]:
    """Score all faces in a runtime, once for each of `BATCHES`.

    Args:
        runtime: Name in `RUNTIMES`.
        path: The exported file; its folder is the cache of the process.
        faces: uint8 BGR (N, 112, 112, 3).

    Raises:
        FiqaError: The error of the runtime, or a `ModelError` if it crashed.
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


def _in_batches(faces: Faces, score: Callable[[Faces], NDArray[np.generic]]) -> list[Scores]:
    """Return the scores of all faces, once for each batch size; the last batch may be smaller."""
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
    options.log_severity_level = 3  # it warns about every constant in float16
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return _in_batches(faces, lambda batch: session.run([OUTPUT], {INPUT: batch})[0])


def _sdk(path: Path, faces: Faces, device: str, threads: int | None = 1) -> list[Scores]:
    from sdk import QualityScorer

    with QualityScorer(path, device, threads, trust=True) as scorer:  # the file was written a moment ago
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
    "onnxruntime": _onnxruntime,
    "fiqa": partial(_sdk, device="cpu"),
    "OpenCV DNN": _opencv,
    "openvino": partial(_sdk, device="openvino"),
    "engine": partial(_sdk, device="auto", threads=None),
}
"""Every runtime that files are proven in. `fiqa` is the SDK on the CPU, `engine` the SDK on the GPU."""


def main(runtime: str, path: str, folder: str) -> None:
    """Score `faces.npy` of a folder, and write `scores.npy` or `error.json` there."""
    results = Path(folder)
    try:
        scores = RUNTIMES[runtime](Path(path), np.load(results / "faces.npy"))
    except Exception as error:  # noqa: BLE001  # the errors of the runtimes share no class
        kind = type(error).__name__ if isinstance(error, FiqaError) else "ModelError"
        words = str(error) if isinstance(error, FiqaError) else f"{runtime} refuses the exported file: {error}"
        write_file(results / "error.json", json.dumps({"kind": kind, "message": words}))
        return
    np.save(results / "scores.npy", np.stack(scores))


if __name__ == "__main__":
    main(*sys.argv[1:])
