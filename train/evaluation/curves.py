"""Error-versus-discard curves of quality measures, with bootstrap intervals and rank correlations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from sdk.decision.comparisons import Pairs
from sdk.decision.edc import EDC, bootstrap_pauc, edc, pair_quality, threshold_at_fmr
from sdk.decision.vectors import cosines
from sdk.errors import InputError

FEWEST_ERRORS = 30
"""Fewest errors that tell anything: the rule of 30 (Doddington et al., "The NIST speaker recognition evaluation",
Speech Communication 2000). With 30 errors the true rate is within 30 % of the measured one, at 90 % confidence."""

Scores = Mapping[str, NDArray[np.floating[Any]]]


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """Settings of an evaluation.

    Attributes:
        fmr: False-match rates; each fixes a threshold, on all non-mated comparisons.
        rates: Discard rates of the pAUCs.
        repetitions: Draws of the bootstrap over identities.
        mated_limit: Most mated comparisons of one person, where there is no list of pairs.
        non_mated: Most non-mated comparisons, where there is no list of pairs; drawn at random where there are more.
        seed: Seed of all draws.
    """

    fmr: tuple[float, ...] = (1e-3,)
    rates: tuple[float, ...] = (0.2, 0.3)
    repetitions: int = 1000
    mated_limit: int = 200
    non_mated: int = 2_000_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, values in (("FMR", self.fmr), ("discard rate", self.rates)):
            if not values or any(not 0 < value < 1 for value in values):
                raise InputError(f"{name} is {', '.join(map(str, values)) or 'missing'}, wanted numbers in (0, 1)")


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the ends of its 95 % interval; NaN where no error is made, so that nothing can be measured."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, draws: NDArray[np.float64]) -> "Interval":
        """Make an interval of bootstrap draws. Draws without an error are NaN, and are left out."""
        finite = draws[np.isfinite(draws)]
        if len(finite) == 0:
            return cls(value, math.nan, math.nan)
        return cls(value, *np.percentile(finite, [2.5, 97.5]).tolist())


@dataclass(frozen=True, slots=True)
class MethodResult:
    """One method at one threshold. The keys of all mappings are discard rates.

    Attributes:
        method: Name of the method.
        curve: Its EDC.
        pauc: Normalised partial area under the curve: lower is better, 1 is a random discard.
        difference: Its pAUC less that of the first method, on the same draws; 0 for the first method.
        first_better: Share of the draws in which the first method's pAUC is lower; a tie counts half. Near 1 the first
            method is better beyond chance, near 0 this one is.
    """

    method: str
    curve: EDC
    pauc: dict[float, Interval]
    difference: dict[float, Interval]
    first_better: dict[float, float]


@dataclass(frozen=True, slots=True)
class Point:
    """All methods at one threshold.

    Attributes:
        fmr: False-match rate that fixes the threshold.
        threshold: A match is above it.
        fnmr: False-non-match rate of all mated comparisons, before any is discarded.
        methods: The methods.
        errors: Number of mated comparisons that fail.
    """

    fmr: float
    threshold: float
    fnmr: float
    methods: list[MethodResult]
    errors: int

    @property
    def tells(self) -> bool:
        """True where there are enough errors to compare methods, see `FEWEST_ERRORS`."""
        return self.errors >= FEWEST_ERRORS


@dataclass(frozen=True, slots=True)
class SetResult:
    """All methods on one set of comparisons.

    Attributes:
        name: Name of the set.
        images: Number of images in the comparisons.
        identities: Number of people in these images.
        mated: Number of mated comparisons.
        non_mated: Number of non-mated comparisons.
        points: One for each FMR that this number of non-mated comparisons can show.
        not_shown: The FMRs that it cannot show.
        spearman: (K, K) rank correlation of the K methods over the images.
        kendall: (K, K) Kendall's tau-b.
    """

    name: str
    images: int
    identities: int
    mated: int
    non_mated: int
    points: list[Point]
    not_shown: tuple[float, ...]
    spearman: NDArray[np.float64]
    kendall: NDArray[np.float64]


def evaluate_set(
    name: str,
    pairs: Pairs,
    identities: Sequence[str] | NDArray[np.str_],
    embeddings: NDArray[np.floating[Any]],
    scores: Scores,
    settings: EvaluationSettings,
) -> SetResult:
    """Evaluate methods on one set of comparisons.

    Args:
        name: Name of the set.
        pairs: Comparisons, as indices of the N images.
        identities: (N,) person of each image.
        embeddings: (N, D) of the face-recognition model that compares the images.
        scores: (N,) scores of each method. The first method is the reference.
        settings: See `EvaluationSettings`.

    Raises:
        InputError: A score or an embedding is NaN, or there are too few comparisons for any of the FMRs.
    """
    if np.isnan(embeddings).any():
        raise InputError(f"{np.isnan(embeddings).any(axis=1).sum()} images have no embedding; leave them out")
    mated, non_mated = cosines(pairs.mated, embeddings), cosines(pairs.non_mated, embeddings)
    shown = [fmr for fmr in settings.fmr if fmr * len(non_mated) >= 1]
    if not shown:
        threshold_at_fmr(non_mated, max(settings.fmr))  # raises: there are too few comparisons
    groups = np.unique(np.asarray(identities)[pairs.mated[:, 0]], return_inverse=True)[1]
    values = np.stack(list(scores.values()))
    return SetResult(
        name=name,
        images=len(embeddings),
        identities=len(set(identities)),
        mated=len(mated),
        non_mated=len(non_mated),
        points=[_point(fmr, mated, non_mated, pairs, groups, scores, settings) for fmr in shown],
        not_shown=tuple(fmr for fmr in settings.fmr if fmr not in shown),
        spearman=_correlations(values, spearmanr),
        kendall=_correlations(values, kendalltau),
    )


def _point(
    fmr: float,
    mated: NDArray[np.float32],
    non_mated: NDArray[np.float32],
    pairs: Pairs,
    groups: NDArray[np.int64],
    scores: Scores,
    settings: EvaluationSettings,
) -> Point:
    threshold = threshold_at_fmr(non_mated, fmr)
    errors = mated <= threshold
    results: list[MethodResult] = []
    curves, draws = {}, {}
    for method, quality in scores.items():
        lower = pair_quality(quality, pairs.mated)
        curves[method] = edc(lower, errors)
        draws[method] = bootstrap_pauc(lower, errors, groups, settings.rates, settings.repetitions, settings.seed)
    first = next(iter(scores))
    for method, curve in curves.items():
        pauc, difference, first_better = {}, {}, {}
        for index, rate in enumerate(settings.rates):
            drawn, less = draws[method][:, index], (draws[method] - draws[first])[:, index]
            pauc[rate] = Interval.of(curve.pauc(rate), drawn)
            difference[rate] = Interval.of(curve.pauc(rate) - curves[first].pauc(rate), less)
            first_better[rate] = _share_above_zero(less)
        results.append(MethodResult(method, curve, pauc, difference, first_better))
    return Point(fmr, threshold, float(errors.mean()), results, int(errors.sum()))


def _share_above_zero(draws: NDArray[np.float64]) -> float:
    finite = draws[np.isfinite(draws)]
    return float(((finite > 0).mean() + (finite >= 0).mean()) / 2) if len(finite) else math.nan


def _correlations(values: NDArray[np.floating[Any]], measure: Any) -> NDArray[np.float64]:
    """Return rank correlations (K, K) of K methods; NaN where a method gives all images the same score."""
    constant = values.min(axis=1) == values.max(axis=1)
    result = np.eye(len(values))
    for i in range(len(values)):
        for j in range(i):
            unknown = constant[i] or constant[j]
            result[i, j] = result[j, i] = math.nan if unknown else measure(values[i], values[j]).statistic
    return result
