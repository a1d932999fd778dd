"""Error-versus-discard characteristic (EDC).

Grother and Tabassi, "Performance of Biometric Quality Measures", IEEE TPAMI 2007; Schlett et al., "Considerations on
the Evaluation of Biometric Quality Assessment Algorithms", IEEE TBIOM 2023, for pAUC. The quality of a mated comparison
is the lower quality of its two images. Comparisons are discarded, lowest quality first, while the decision threshold
stays the same. The curve is the false-non-match rate of those that remain.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError

Floats = NDArray[np.floating[Any]]


def threshold_at_fmr(non_mated: Floats, fmr: float) -> float:
    """Return the threshold at which at most a fraction `fmr` of non-mated comparisons match. A match is *above* it.

    Args:
        non_mated: (N,) similarities of non-mated comparisons.
        fmr: Wanted false-match rate.

    Raises:
        InputError: There are too few comparisons for that rate to mean anything.
    """
    allowed = int(np.floor(fmr * len(non_mated)))
    if allowed < 1:
        raise InputError(f"{len(non_mated)} non-mated comparisons cannot show an FMR of {fmr:g}, wanted {1 / fmr:.0f}")
    return float(np.partition(non_mated, len(non_mated) - allowed - 1)[len(non_mated) - allowed - 1])


@dataclass(frozen=True, slots=True)
class EDC:
    """Curve: `fnmr[m]` is the false-non-match rate when m of the M comparisons are discarded, m = 0 .. M - 1."""

    fnmr: NDArray[np.float64]

    @property
    def discard(self) -> NDArray[np.float64]:
        """Fraction (M,) that is discarded at each step."""
        return np.arange(len(self.fnmr)) / len(self.fnmr)

    def auc(self, rate: float) -> float:
        """Return the area under the step function from 0 to a discard rate, not normalised.

        Raises:
            InputError: The rate is not in (0, 1].
        """
        if not 0 < rate <= 1:
            raise InputError(f"discard rate is {rate}, wanted a number in (0, 1]")
        count = len(self.fnmr)
        whole = int(np.floor(rate * count + 1e-9))
        area = self.fnmr[:whole].sum() / count
        if whole < count:
            area += self.fnmr[whole] * (rate - whole / count)
        return float(area)

    def pauc(self, rate: float) -> float:
        """Return `auc` divided by that of a random discard: 1 is random, lower is better. NaN without errors."""
        return self.auc(rate) / (self.fnmr[0] * rate) if self.fnmr[0] > 0 else float("nan")


def pair_quality(quality: Floats, pairs: NDArray[np.integer[Any]]) -> Floats:
    """Return the quality (M,) of comparisons (M, 2): the lower quality of the two images.

    Raises:
        InputError: A quality is NaN.
    """
    lower = quality[pairs].min(axis=1)
    if np.isnan(lower).any():
        raise InputError(f"{np.isnan(lower).sum()} comparisons have an image without a quality; leave these images out")
    return lower


def edc(quality: Floats, errors: NDArray[np.bool_]) -> EDC:
    """Return the curve of a quality measure.

    Comparisons of equal quality can be discarded in any order. The curve is the mean over all these orders, so the
    order of the input does not matter.

    Args:
        quality: (M,) quality of each mated comparison, see `pair_quality`.
        errors: bool (M,), True where a comparison fails: its similarity is not above the threshold.

    Raises:
        InputError: There is no comparison, or the two differ in length.
    """
    if len(quality) != len(errors) or len(quality) == 0:
        raise InputError(f"{len(quality)} qualities and {len(errors)} decisions, wanted equally many, at least one")
    order = np.argsort(quality, kind="stable")
    return EDC(_curve(quality[order], errors[order].astype(np.float64)))


def _curve(ordered: Floats, failed: Floats) -> NDArray[np.float64]:
    """Return the curve (M,) of comparisons that are sorted by quality."""
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[starts, len(ordered)])
    # Over all orders of comparisons of equal quality, each of them has the mean error of the group at its place.
    shared = np.repeat(np.add.reduceat(failed, starts) / sizes, sizes)
    remaining = shared.sum() - np.r_[0.0, np.cumsum(shared)[:-1]]
    return np.maximum(remaining, 0.0) / np.arange(len(ordered), 0, -1)


def bootstrap_pauc(
    quality: Floats,
    errors: NDArray[np.bool_],
    groups: NDArray[np.integer[Any]],
    rates: tuple[float, ...],
    repetitions: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return pAUCs on resampled people.

    Identities are drawn with replacement, each with all its mated comparisons. The threshold stays the same. The same
    seed and groups draw the same people, so two measures can be compared draw by draw.

    Args:
        quality: (M,) quality of each mated comparison.
        errors: bool (M,), True where a comparison fails.
        groups: (M,) identity of each comparison, 0 .. G - 1.
        rates: Discard rates.
        repetitions: Number of draws.
        seed: Seed of the draws.

    Returns:
        (repetitions, len(rates)).
    """
    order = np.argsort(quality, kind="stable")
    ordered, failed, members = quality[order], errors[order].astype(np.float64), groups[order]
    count = int(groups.max()) + 1
    rng = np.random.default_rng(seed)
    result = np.empty((repetitions, len(rates)))
    for repetition in range(repetitions):
        weights = np.bincount(rng.integers(0, count, count), minlength=count)[members]
        curve = EDC(_curve(np.repeat(ordered, weights), np.repeat(failed, weights)))
        result[repetition] = [curve.pauc(rate) for rate in rates]
    return result
