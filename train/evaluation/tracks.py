"""Best-frame selection: how much is won when the frame of the highest quality stands for a track.

Tracks are compared with each other, and with single images, which are tracks of one frame; two single images are not
compared, for there is nothing to choose. A comparison of two tracks is that of the frames chosen from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError
from train.evaluation.comparisons import mated_pairs, non_mated_pairs
from train.evaluation.curves import EvaluationSettings, Interval, Scores
from train.evaluation.edc import threshold_at_fmr
from train.vectors import cosines, unit

RANDOM, ORACLE = "random frame", "oracle"


@dataclass(frozen=True, slots=True)
class VideoResult:
    """FNMRs at one FMR.

    Attributes:
        fmr: At which the threshold is fixed, on the non-mated comparisons of all frames.
        threshold: A match is above it.
        tracks: Number of tracks.
        mated: Number of mated comparisons of tracks.
        fnmr: By method; `random frame` is the expectation over all choices of frames, `oracle` takes the two frames
            that resemble each other most, which no choice that sees one track at a time can beat. Intervals are over
            identities.
    """

    fmr: float
    threshold: float
    tracks: int
    mated: int
    fnmr: dict[str, Interval]

    def closed(self, method: str) -> float:
        """Share of the way from the random frame to the oracle; NaN where the two are equal."""
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
        embeddings: (N, D) of the face-recognition model that judges.
        scores: (N,) of each method; frames of equal quality are chosen at random, and the result is the expectation.
        settings: Its FMRs, bootstrap and limits.

    Returns:
        A result an FMR.

    Raises:
        InputError: A track is of two people, there is no track, or there are too few comparisons.
    """
    names = [track or f"\0{row}" for row, track in enumerate(tracks)]
    starts, codes = np.unique(names, return_index=True, return_inverse=True)[1:]
    people = np.asarray(identities)
    mixed = np.flatnonzero(people != people[starts][codes])
    if len(mixed):
        track, row = tracks[mixed[0]], mixed[0]
        first, other = identities[starts[codes[row]]], identities[row]
        raise InputError(f"the track {track!r} is of {first!r} and of {other!r}, wanted one person a track")
    real = np.array([bool(tracks[row]) for row in starts])
    if not real.any():
        raise InputError("no row has a track; name the track of each frame in the column 'track'")
    pairs = mated_pairs(people[starts], settings.mated_limit, settings.seed, real)
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


def _failures(
    pairs: NDArray[np.int64],
    frames: list[NDArray[np.int64]],
    rows: NDArray[np.float32],
    scores: Scores,
    threshold: float,
) -> dict[str, NDArray[np.float64]]:
    """Probability (M,) that each comparison fails, by how frames are chosen."""
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
