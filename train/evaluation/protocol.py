"""Score columns of a labelled manifest -> EDC table with bootstrap intervals."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from sdk.errors import InputError
from train.data.degradations import worst_grade
from train.data.manifest import Manifest
from train.evaluation.comparisons import Comparisons, mated_comparisons, non_mated_comparisons
from train.evaluation.edc import EDC, bootstrap_pauc, edc, pair_quality, threshold_at_fmr

SETS = ("clean", "mixed", "harsh")
"""`clean`: undamaged images. `harsh`: of each image, at even odds, itself or its damaged copy. `mixed`: the same, but a
copy that was damaged with a grade above `MIXED_GRADE` is replaced by its original: beyond it hardly any comparison
succeeds, collapsed images resemble each other and raise the threshold, and every quality measure looks alike."""

MIXED_GRADE = 0.5
"""Highest grade of damage in the set `mixed`."""


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """How to evaluate.

    Attributes:
        fmr: False-match rate at which the threshold is fixed.
        rates: Discard rates of the pAUCs.
        repetitions: Of the bootstrap over identities.
        mated_limit: Mated comparisons kept of one person.
        seed: Of all draws.
    """

    fmr: float = 1e-3
    rates: tuple[float, ...] = (0.2, 0.3)
    repetitions: int = 1000
    mated_limit: int = 200
    seed: int = 0


@dataclass(frozen=True, slots=True)
class MethodResult:
    """One method on one set: its curve, and (rate -> value, lower and upper end of the 95 % interval) of the pAUC.

    `worse_than_first` is, for each rate, the share of bootstrap draws in which its pAUC is not below the first
    method's: near 1 means that the first method is better beyond chance.
    """

    method: str
    curve: EDC
    pauc: dict[float, tuple[float, float, float]]
    worse_than_first: dict[float, float]


@dataclass(frozen=True, slots=True)
class SetResult:
    """All methods on one set of images."""

    name: str
    images: int
    identities: int
    mated: int
    fmr: float
    threshold: float
    fnmr: float
    methods: list[MethodResult]
    spearman: NDArray[np.float64]
    kendall: NDArray[np.float64]


def set_rows(manifest: Manifest, name: str, split: str | None, seed: int = 0) -> NDArray[np.int64]:
    """Rows of a set, see `SETS`; the choice of a mixed set depends on each image's name and the seed alone.

    Raises:
        InputError: The set is unknown or empty.
    """
    if name not in SETS:
        raise InputError(f"unknown set {name!r}, wanted one of: {', '.join(SETS)}")
    columns = manifest.table.column_names
    count = len(manifest)
    splits = manifest.column("split") if split else [None] * count
    damaged = manifest.column("degradation") if "degradation" in columns else [""] * count
    originals = manifest.column("original") if "original" in columns else manifest.paths
    highest = MIXED_GRADE if name == "mixed" else 1.0
    chosen: dict[str, int] = {}
    for row in range(count):
        if splits[row] != split:
            continue
        original = originals[row]
        if not damaged[row]:
            chosen.setdefault(original, row)
        elif name != "clean" and _coin(original, seed) and worst_grade(damaged[row]) <= highest:
            chosen[original] = row
    if not chosen:
        raise InputError(f"the set {name} has no image of split {split!r}; see the manifest's columns")
    return np.array(sorted(chosen.values()), np.int64)


def _coin(key: str, seed: int) -> bool:
    return bool(np.random.default_rng([seed, zlib.crc32(key.encode())]).random() < 0.5)


def evaluate_set(
    name: str,
    identities: Sequence[str] | NDArray[np.str_],
    embeddings: NDArray[np.floating[Any]],
    scores: Mapping[str, NDArray[np.floating[Any]]],
    settings: EvaluationSettings,
) -> SetResult:
    """Evaluate methods on one set.

    Args:
        name: Of the set.
        identities: (N,) person of each image.
        embeddings: (N, D) of the face-recognition model that judges.
        scores: (N,) of each method; the first is the one that others are compared with.
        settings: See `EvaluationSettings`.

    Raises:
        InputError: A score or an embedding is NaN, or there are too few comparisons.
    """
    if np.isnan(embeddings).any():
        raise InputError(f"{np.isnan(embeddings).any(axis=1).sum()} images have no embedding; leave them out")
    mated = mated_comparisons(identities, embeddings, settings.mated_limit, settings.seed)
    non_mated = non_mated_comparisons(identities, embeddings, seed=settings.seed)
    threshold = threshold_at_fmr(non_mated.similarity, settings.fmr)
    errors = mated.similarity <= threshold
    results = _methods(mated, errors, scores, settings)
    values = np.stack(list(scores.values()))
    return SetResult(
        name=name,
        images=len(embeddings),
        identities=len(set(identities)),
        mated=len(errors),
        fmr=settings.fmr,
        threshold=threshold,
        fnmr=float(errors.mean()),
        methods=results,
        spearman=_correlations(values, spearmanr),
        kendall=_correlations(values, kendalltau),
    )


def _methods(
    mated: Comparisons,
    errors: NDArray[np.bool_],
    scores: Mapping[str, NDArray[np.floating[Any]]],
    settings: EvaluationSettings,
) -> list[MethodResult]:
    groups = np.unique(mated.identity, return_inverse=True)[1]
    results: list[MethodResult] = []
    first: NDArray[np.float64] | None = None
    for method, quality in scores.items():
        pairs = pair_quality(quality, mated.a, mated.b)
        draws = bootstrap_pauc(pairs, errors, groups, settings.rates, settings.repetitions, settings.seed)
        first = draws if first is None else first
        curve = edc(pairs, errors)
        low, high = np.nanpercentile(draws, [2.5, 97.5], axis=0)
        results.append(
            MethodResult(
                method,
                curve,
                {rate: (curve.pauc(rate), low[i], high[i]) for i, rate in enumerate(settings.rates)},
                {rate: float(np.mean(draws[:, i] >= first[:, i])) for i, rate in enumerate(settings.rates)},
            )
        )
    return results


def _correlations(values: NDArray[np.floating[Any]], measure: Any) -> NDArray[np.float64]:
    count = len(values)
    result = np.eye(count)
    for i in range(count):
        for j in range(i):
            result[i, j] = result[j, i] = measure(values[i], values[j]).statistic
    return result


def rows_of(results: Iterable[SetResult]) -> list[dict[str, Any]]:
    """The table: a row a set and method."""
    rows = []
    for result in results:
        for method in result.methods:
            row: dict[str, Any] = {"set": result.name, "method": method.method, "fnmr": round(result.fnmr, 4)}
            for rate, (value, low, high) in method.pauc.items():
                row[f"pauc@{rate:g}"] = round(value, 4)
                row[f"low@{rate:g}"] = round(float(low), 4)
                row[f"high@{rate:g}"] = round(float(high), 4)
                row[f"auc@{rate:g}"] = round(method.curve.auc(rate), 6)
                row[f"worse_than_first@{rate:g}"] = round(method.worse_than_first[rate], 4)
            rows.append(row)
    return rows
