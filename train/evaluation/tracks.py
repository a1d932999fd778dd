"""Best-frame selection: how many comparisons fail when the best frame of each track is compared.

A single image is a track of one frame. Tracks are compared with each other and with single images. Two single images
are not compared, for they leave no choice. To compare two tracks is to compare the frames that were chosen from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.decision.comparisons import mated_pairs, non_mated_pairs
from sdk.decision.edc import threshold_at_fmr
from sdk.decision.vectors import cosines, unit
from sdk.errors import InputError
from train.evaluation.curves import EvaluationSettings, Interval, Scores

RANDOM, ORACLE = "random frame", "oracle"


@dataclass(frozen=True, slots=True)
class VideoResult:
    """FNMRs at one FMR.

    Attributes:
        fmr: False-match rate that fixes the threshold, on the non-mated comparisons of all frames.
        threshold: A match is above it.
        tracks: Number of tracks.
        mated: Number of mated comparisons of tracks.
        fnmr: FNMR by method. `random frame` is the mean over all choices of frames. `oracle` takes the two frames that
            are most similar: no method that sees one track at a time can do better. Intervals are over identities.
    """

    fmr: float
    threshold: float
    tracks: int
    mated: int
    fnmr: dict[str, Interval]

    def closed(self, method: str) -> float:
        """Return how far a method gets from the random frame (0) to the oracle (1); NaN where the two are equal."""
        random, oracle = self.fnmr[RANDOM].value, self.fnmr[ORACLE].value
        return (random - self.fnmr[method].value) / (random - oracle) if random > oracle else float("nan")


def evaluate_tracks(
    tracks: Sequence[str],
    identities: Sequence[str],
    embeddings: NDArray[np.floating[Any]],
    scores: Scores,
    settings: EvaluationSettings,
) -> list[VideoResult]:
    """Evaluate methods on tracks.

    Args:
        tracks: (N,) track of each frame, empty for a single image.
        identities: (N,) person of each frame.
        embeddings: (N, D) of the face-recognition model that compares the frames.
        scores: (N,) scores of each method. Of frames with equal quality any may be chosen; the result is the mean.
        settings: FMRs, bootstrap and limits.

    Returns:
        A result for each FMR.

    Raises:
        InputError: A track is of two people, there is no track, or there are too few comparisons.
    """
    starts, codes, real = _group(tracks, identities)
    people = np.asarray(identities)
    pairs = mated_pairs(people[starts], settings.mated_limit, settings.seed, (real, np.ones_like(real)))
    non_mated = cosines(non_mated_pairs(people, settings.non_mated, settings.seed), embeddings)
    frames = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    groups = np.unique(people[starts][pairs[:, 0]], return_inverse=True)[1]
    rows, results = unit(embeddings), []
    for fmr in settings.fmr:
        threshold = threshold_at_fmr(non_mated, fmr)
        failed = _failures(pairs, frames, rows, scores, threshold)
        fnmr = {name: _interval(values, groups, settings) for name, values in failed.items()}
        results.append(VideoResult(fmr, threshold, int(real.sum()), len(pairs), fnmr))
    return results


def _group(
    tracks: Sequence[str], identities: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the first row of each of T tracks, the track of each row (N,), and which tracks (T,) are no single image.

    Raises:
        InputError: A track is of two people, or there is no track.
    """
    names = [track or f"\0{row}" for row, track in enumerate(tracks)]
    starts, codes = np.unique(names, return_index=True, return_inverse=True)[1:]
    people = np.asarray(identities)
    mixed = np.flatnonzero(people != people[starts][codes])
    if len(mixed):
        row = mixed[0]
        first, other = identities[starts[codes[row]]], identities[row]
        raise InputError(f"the track {tracks[row]!r} is of {first!r} and of {other!r}, wanted one person a track")
    real = np.array([bool(tracks[row]) for row in starts])
    if not real.any():
        raise InputError("no row has a track; name the track of each frame in the column 'track'")
    return starts, codes, real


def _failures(
    pairs: NDArray[np.int64],
    frames: list[NDArray[np.int64]],
    rows: NDArray[np.float32],
    scores: Scores,
    threshold: float,
) -> dict[str, NDArray[np.float64]]:
    """Return the probability (M,) that each comparison fails, by method of choosing the frames."""
    failed = {name: np.empty(len(pairs)) for name in (*scores, RANDOM, ORACLE)}
    for index, (first, second) in enumerate(pairs):
        a, b = frames[first], frames[second]
        wrong = rows[a] @ rows[b].T <= threshold
        failed[RANDOM][index] = wrong.mean()
        failed[ORACLE][index] = wrong.all()
        for name, values in scores.items():
            best_a, best_b = (values[track] == values[track].max() for track in (a, b))
            failed[name][index] = wrong[best_a][:, best_b].mean()
    return failed


def _interval(failed: NDArray[np.float64], groups: NDArray[np.int64], settings: EvaluationSettings) -> Interval:
    count = int(groups.max()) + 1
    sums, sizes = np.bincount(groups, failed), np.bincount(groups)
    drawn = np.random.default_rng(settings.seed).integers(0, count, (settings.repetitions, count))
    return Interval.of(float(failed.mean()), sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
