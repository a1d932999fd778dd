"""Compare an exported file with the network that it was made from."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.proof.runtimes import BATCHES, Faces, Scores, scores_apart
from sdk.calibrating.embedding_session import EmbeddingSession, read_recognition
from sdk.decision.vectors import unit
from sdk.proof.verify import Agreement, compare_scores, find_failures


def compare(path: Path, faces: Faces, expected: Scores, runtimes: Sequence[str]) -> dict[str, Agreement]:
    """Score faces in runtimes, and compare the scores with those of the source.

    Args:
        path: The exported file.
        faces: uint8 BGR (N, 112, 112, 3); N is at least the largest batch.
        expected: float32 (N,), scores of the source.
        runtimes: Names in `export.proof.runtimes.RUNTIMES`.

    Returns:
        Agreement of the scores, by runtime and batch size: `onnxruntime, batch 1` ...

    Raises:
        ModelError: A runtime refuses the file or crashes on it.
        DeviceError: A runtime is not installed.
    """
    return {
        f"{runtime}, batch {batch}": compare_scores(scores, expected)
        for runtime in runtimes
        for batch, scores in zip(BATCHES, scores_apart(runtime, path, faces), strict=True)
    }


def compare_embeddings(path: Path, faces: Faces, expected: NDArray[np.float32]) -> dict[str, Agreement]:
    """Embed faces by a file as `fiqa calibrate` and `fiqa-train` do, and compare the embeddings with the source's.

    Args:
        path: The exported file.
        faces: uint8 BGR (N, 112, 112, 3).
        expected: float32 (N, D), embeddings of the source.

    Returns:
        Agreement of all values of the embeddings, scaled to unit length.

    Raises:
        ModelError: The file gives no embeddings.
    """
    session = EmbeddingSession(read_recognition(path))
    parts = [session.run(faces[start : start + BATCHES[-1]]) for start in range(0, len(faces), BATCHES[-1])]
    found = compare_scores(unit(np.concatenate(parts)).reshape(-1), unit(expected).reshape(-1))
    return {f"embedding, batch {BATCHES[-1]}": found}


def failures_of(agreements: Mapping[str, Agreement], precision: str) -> tuple[str, ...]:
    """Return what exceeds the tolerance of a precision, in words, each once; empty if nothing does."""
    places: dict[str, str] = {}
    for place, agreement in agreements.items():
        for failure in find_failures(agreement, precision):
            places.setdefault(failure, place)
    return tuple(f"{place}: {failure}" for failure, place in places.items())


def figures(agreements: Mapping[str, Agreement]) -> dict[str, float]:
    """Return the figures for a card: the largest difference by runtime and batch, and the worst of the other figures.

    Differences keep two digits, correlations five decimals. Scores that are no numbers have no figures.
    """
    if not all(found.finite for found in agreements.values()):
        return {place: rounded(found.largest) for place, found in agreements.items() if math.isfinite(found.largest)}
    return {
        **{place: rounded(found.largest) for place, found in agreements.items()},
        "mean": rounded(max(found.mean for found in agreements.values())),
        "shift": rounded(max((found.shift for found in agreements.values()), key=abs)),
        "spearman": round(min(found.spearman for found in agreements.values()), 5),
    }


def rounded(value: float) -> float:
    """Return a difference with two digits."""
    return float(f"{value:.1e}")
