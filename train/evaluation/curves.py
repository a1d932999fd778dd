"""Quality scores and comparisons -> error-versus-discard curves, with bootstrap intervals and rank correlations."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from sdk.errors import InputError
from train.evaluation.comparisons import Pairs
from train.evaluation.edc import EDC, bootstrap_pauc, edc, pair_quality, threshold_at_fmr
from train.vectors import cosines

Scores = Mapping[str, NDArray[np.floating[Any]]]


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """How to evaluate.

    Attributes:
        fmr: False-match rates at which a threshold is fixed, on all non-mated comparisons.
        rates: Discard rates of the pAUCs.
        repetitions: Of the bootstrap over identities.
        mated_limit: Mated comparisons kept of one person, where no list of pairs says which.
        non_mated: Non-mated comparisons drawn at random; all where there are fewer, or where a list says which.
        seed: Of all draws.
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
    """A value and the ends of its 95 % interval; NaN where nothing goes wrong, so nothing can be measured."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, draws: NDArray[np.float64]) -> "Interval":
        """From bootstrap draws; those in which nothing goes wrong are NaN and are left out."""
        finite = draws[np.isfinite(draws)]
        if len(finite) == 0:
            return cls(value, math.nan, math.nan)
        return cls(value, *np.percentile(finite, [2.5, 97.5]).tolist())


@dataclass(frozen=True, slots=True)
class MethodResult:
    """One method at one threshold; every mapping is by discard rate.

    Attributes:
        method: Its name.
        curve: Its EDC.
        pauc: Normalised partial area, lower is better, 1 is a random discard.
        difference: Its pAUC less that of the first method, on the same draws; the first method's own is 0.
        first_better: Share of the draws in which the first method's pAUC is lower, ties counted half: near 1 the first
            method is better beyond chance, near 0 this one is.
    """

    method: str
    curve: EDC
    pauc: dict[float, Interval]
    difference: dict[float, Interval]
    first_better: dict[float, float]


@dataclass(frozen=True, slots=True)
class Point:
    """All methods at one threshold; `fnmr` is that of all mated comparisons."""

    fmr: float
    threshold: float
    fnmr: float
    methods: list[MethodResult]


@dataclass(frozen=True, slots=True)
class SetResult:
    """All methods on one set of comparisons.

    Attributes:
        name: Of the set.
        images: That take part in a comparison.
        identities: Of these images.
        mated: Number of mated comparisons.
        non_mated: Number of non-mated comparisons.
        points: One an FMR that so many non-mated comparisons can show.
        not_shown: The FMRs that they cannot.
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
        name: Of the set.
        pairs: What is compared, as indices of the N images.
        identities: (N,) person of each image.
        embeddings: (N, D) of the face-recognition model that judges.
        scores: (N,) of each method; the first is the one that others are compared with.
        settings: See `EvaluationSettings`.

    Raises:
        InputError: A score or an embedding is NaN, or there are too few comparisons for any of the FMRs.
    """
    if np.isnan(embeddings).any():
        raise InputError(f"{np.isnan(embeddings).any(axis=1).sum()} images have no embedding; leave them out")
    mated, non_mated = cosines(pairs.mated, embeddings), cosines(pairs.non_mated, embeddings)
    shown = [fmr for fmr in settings.fmr if fmr * len(non_mated) >= 1]
    if not shown:
        threshold_at_fmr(non_mated, max(settings.fmr))  # says what is wanted
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
    return Point(fmr, threshold, float(errors.mean()), results)


def _share_above_zero(draws: NDArray[np.float64]) -> float:
    finite = draws[np.isfinite(draws)]
    return float(((finite > 0).mean() + (finite >= 0).mean()) / 2) if len(finite) else math.nan


def _correlations(values: NDArray[np.floating[Any]], measure: Any) -> NDArray[np.float64]:
    """NaN where a method gives every image the same score."""
    constant = values.min(axis=1) == values.max(axis=1)
    result = np.eye(len(values))
    for i in range(len(values)):
        for j in range(i):
            unknown = constant[i] or constant[j]
            result[i, j] = result[j, i] = math.nan if unknown else measure(values[i], values[j]).statistic
    return result


def rows_of(results: Iterable[SetResult]) -> list[dict[str, Any]]:
    """The table: a row a set, FMR and method; an FMR that cannot be shown has one row with a note and no method."""
    rows: list[dict[str, Any]] = []
    for result in results:
        counts = {"set": result.name, "images": result.images, "identities": result.identities}
        counts |= {"mated": result.mated, "non_mated": result.non_mated}
        for point in result.points:
            measured = {"fmr": point.fmr, "threshold": round(point.threshold, 6), "fnmr": round(point.fnmr, 6)}
            rows += [{**counts, **measured, **_figures(method)} for method in point.methods]
        for fmr in result.not_shown:
            rows.append({**counts, "fmr": fmr, "note": not_shown_note(result, fmr)})
    names = {name: None for row in rows for name in row}
    return [{name: row.get(name) for name in names} for row in rows]


def not_shown_note(result: SetResult, fmr: float) -> str:
    """Why an FMR has no figures."""
    return f"{result.non_mated} non-mated comparisons cannot show an FMR of {fmr:g}, wanted {math.ceil(1 / fmr)}"


def _figures(method: MethodResult) -> dict[str, Any]:
    row: dict[str, Any] = {"method": method.method}
    for rate, pauc in method.pauc.items():
        difference = method.difference[rate]
        values = {
            "pauc": pauc.value,
            "low": pauc.low,
            "high": pauc.high,
            "auc": method.curve.auc(rate),
            "difference": difference.value,
            "difference_low": difference.low,
            "difference_high": difference.high,
            "first_better": method.first_better[rate],
        }
        row |= {f"{name}@{rate:g}": None if math.isnan(value) else round(value, 6) for name, value in values.items()}
    return row
