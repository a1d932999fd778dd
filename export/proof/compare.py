"""Compare an exported file with the network that it was made from."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from export.proof.runtimes import BATCHES, Faces, Scores, scores_apart
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
