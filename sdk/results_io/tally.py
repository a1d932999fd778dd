"""Add scores up in little memory: counts, a histogram, the best and the worst faces, the reasons of failures."""

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

from sdk.results_io.scored_face import ScoredFace

FACES = 200
"""Best faces that are kept unless told otherwise, and as many worst ones."""

FAILURES = 200
"""Most files without a score that are kept."""

_FINEST = 0.00025
"""Width of a bin at first. 40 bars over a range in tenths begin and end where bins do."""
_MOST_BINS = 20_000
_MOST_REASONS = 1_000
OTHER_REASONS = "other reasons"


class Histogram:
    """Counts of values in bins of one width, which doubles when there are too many of them.

    Attributes:
        count: Number of values.
        least: Smallest value; infinity where there is none.
        most: Largest value; minus infinity where there is none.
    """

    def __init__(self) -> None:
        self.count = 0
        self.least, self.most = math.inf, -math.inf
        self._width = _FINEST
        self._bins: Counter[int] = Counter()

    def add(self, value: float) -> None:
        """Count a value."""
        self.count += 1
        self.least, self.most = min(self.least, value), max(self.most, value)
        self._bins[math.floor(value / self._width)] += 1
        while len(self._bins) > _MOST_BINS:
            halved: Counter[int] = Counter()
            for index, count in self._bins.items():
                halved[index >> 1] += count
            self._bins, self._width = halved, 2 * self._width

    def median(self) -> float:
        """Return the median, exact to half the width of a bin (of scores from 0 to 1: 0.000125); NaN without values."""
        indices = sorted(self._bins)
        bins = indices, list(accumulate(self._bins[index] for index in indices))
        return (self._at((self.count - 1) // 2, bins) + self._at(self.count // 2, bins)) / 2 if indices else math.nan

    def bars(self, low: float, high: float, count: int) -> list[int]:
        """Return the counts of equal bars from `low` to `high`. Values outside count in the first or the last bar."""
        bars = [0] * count
        for index, found in self._bins.items():
            place = ((index + 0.5) * self._width - low) / (high - low)
            bars[min(max(int(count * place), 0), count - 1)] += found
        return bars

    def _at(self, place: int, bins: tuple[list[int], list[int]]) -> float:
        """Return the middle of the bin that holds a value, given its place among all values in order."""
        index = next(index for index, upto in zip(*bins, strict=True) if place < upto)
        return min(max((index + 0.5) * self._width, self.least), self.most)


class Tally:
    """Add up what was scored.

    Args:
        keep: Number of best faces to keep with their pictures, and of worst ones.

    Attributes:
        files: Number of files so far.
        scored_files: Number of files with a score.
        scores: Histogram of the scores of all faces.
        failed: Number of files without a score, and of faces for which the model gave no number.
        reasons: Number of failures by reason; few enough reasons to be listed.
        failures: The first failures.
        rejected: Number of faces that do not reach the threshold.
        decided: Number of faces for which there is one.
    """

    def __init__(self, keep: int = 0) -> None:
        self.files = self.scored_files = self.failed = self.rejected = self.decided = 0
        self.scores = Histogram()
        self.reasons: Counter[str] = Counter()
        self.failures: list[ScoredFace] = []
        self._keep = keep
        self._best: list[tuple[float, int, ScoredFace]] = []
        self._worst: list[tuple[float, int, ScoredFace]] = []

    def add(self, faces: Sequence[ScoredFace]) -> None:
        """Add all rows of one file."""
        self.files += 1
        self.scored_files += any(face.score is not None for face in faces)
        for face in faces:
            if face.score is None:
                self._add_failure(face)
            else:
                order = self.scores.count
                self.scores.add(face.score)
                self.rejected += face.accepted is False
                self.decided += face.accepted is not None
                _keep_largest(self._best, (face.score, -order, face), self._keep)
                _keep_largest(self._worst, (-face.score, order, face), self._keep)

    def ranked(self) -> list[tuple[int, ScoredFace]]:
        """Return the faces that were kept, best first, with their ranks among all faces; 1 is the best."""
        best = sorted(self._best, key=lambda entry: entry[:2], reverse=True)
        worst = sorted(self._worst, key=lambda entry: entry[:2])
        seen = {-order for _, order, _ in best}
        ranked = [(rank, face) for rank, (_, _, face) in enumerate(best, 1)]
        first = self.scores.count - len(worst) + 1
        return ranked + [(rank, face) for rank, (_, order, face) in enumerate(worst, first) if order not in seen]

    def _add_failure(self, face: ScoredFace) -> None:
        self.failed += 1
        if len(self.failures) < FAILURES:
            self.failures.append(face)
        known = face.error in self.reasons or len(self.reasons) < _MOST_REASONS
        self.reasons[face.error if known else OTHER_REASONS] += 1


def _keep_largest(heap: list[tuple[float, int, ScoredFace]], entry: tuple[float, int, ScoredFace], keep: int) -> None:
    if len(heap) < keep:
        heapq.heappush(heap, entry)
    elif keep and entry[:2] > heap[0][:2]:
        heapq.heapreplace(heap, entry)
