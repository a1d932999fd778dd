"""Results by group of people: pAUC, share of images that a threshold turns away, false alarms of reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdk.decision.comparisons import Pairs
from sdk.decision.edc import bootstrap_pauc, edc, pair_quality
from sdk.errors import InputError
from sdk.text import shortened
from train.data.manifest import Manifest, read_table
from train.evaluation.by_group.statistics import (
    Floats,
    Groups,
    Measure,
    Result,
    make_groups,
    means,
    measure_groups,
    shares_turned_away,
    with_exact_intervals,
)
from train.evaluation.curves import EvaluationSettings, Interval, Point, Scores

REASONS = "reasons"
"""Column with the codes of reasons, as `fiqa score --reasons --out TABLE.csv` writes them."""

NO_REASONS = "none"
"""Its text where nothing is wrong."""

ANY = "any reason"


@dataclass(frozen=True, slots=True)
class Grouping:
    """Choice of the groups.

    Attributes:
        columns: Columns that name a person's groups, such as `gender`.
        people: Table with a row a person that has these columns; its column `identity`, or else its first column, names
            the person. None where the manifest has them.
        threshold: Score of the first method from which on images are accepted. None for the threshold of each method
            that turns a fifth of all images away.
    """

    columns: tuple[str, ...]
    people: Path | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class MethodGroups:
    """One method on the groups of one set.

    Attributes:
        method: Its name.
        pauc: pAUCs of each group (G), by FMR and discard rate; NaN where no comparison of the group fails.
        turned_away: Share of each group's images that the threshold turns away; None for a method without one.
    """

    method: str
    pauc: dict[tuple[float, float], list[Interval]]
    turned_away: Result | None


@dataclass(frozen=True, slots=True)
class GroupsResult:
    """All methods on the groups of one set.

    Attributes:
        name: Name of the set.
        groups: The groups; the first one is everybody.
        images: Number of images of each group.
        methods: A result each.
        alarms: Share of each group's images with a reason, by its code; empty where the table has no reasons.
    """

    name: str
    groups: Groups
    images: tuple[int, ...]
    methods: list[MethodGroups]
    alarms: dict[str, Result]


def groups_of(part: Manifest, grouping: Grouping) -> tuple[NDArray[np.int64], list[dict[str, str]], Groups]:
    """Return the person of each image (N,), the groups of each person, a value a column, and the groups.

    Raises:
        InputError: A column is missing, a person has no groups or two of one column, or no group has two people.
    """
    people, owners = np.unique(np.asarray(part.identities), return_inverse=True)
    rows = _people(part, people.tolist(), grouping)
    groups = make_groups(rows, grouping.columns)
    if len(groups.names) == 1:
        raise InputError(f"no value of {', '.join(grouping.columns)} has two people; choose another column")
    return owners, rows, groups


def evaluate_groups(
    name: str, part: Manifest, pairs: Pairs, mated: Floats, points: Sequence[Point], scores: Scores,
    grouping: Grouping, settings: EvaluationSettings,
) -> GroupsResult:  # fmt: skip
    """Evaluate methods on each group of people. Thresholds of recognition are those of everybody.

    Args:
        name: Name of the set.
        part: Its N images.
        pairs: Comparisons, as indices of the images.
        mated: (M,) similarities of the mated comparisons.
        points: The thresholds of recognition.
        scores: (N,) scores of each method.
        grouping: See `Grouping`.
        settings: See `EvaluationSettings`.

    Raises:
        InputError: See `groups_of`; or an image has nothing in the column `reasons`.
    """
    owners, rows, groups = groups_of(part, grouping)
    strata = [" ".join(row[column] for column in grouping.columns) for row in rows]
    failed = {point.fmr: mated <= point.threshold for point in points}

    def shares(measure: Measure) -> Result:
        return with_exact_intervals(
            measure_groups(measure, groups, strata, settings.repetitions, settings.seed), groups
        )

    methods = []
    for index, (method, values) in enumerate(scores.items()):
        numbers = np.asarray(values, np.float64)
        away = None
        if grouping.threshold is None:
            away = shares_turned_away(numbers, owners)
        elif index == 0:
            away = means((numbers < grouping.threshold).astype(np.float64), owners)
        methods.append(
            MethodGroups(
                method,
                _paucs(numbers, pairs.mated, failed, owners, groups, settings),
                None if away is None else shares(away),
            )
        )
    alarms = {code: shares(means(found, owners)) for code, found in _alarms(part).items()}
    images = tuple(int(number) for number in groups.members[:, owners].sum(axis=1))
    return GroupsResult(name, groups, images, methods, alarms)


def _paucs(
    scores: Floats, mated: NDArray[np.int64], failed: Mapping[float, NDArray[np.bool_]], owners: NDArray[np.int64],
    groups: Groups, settings: EvaluationSettings,
) -> dict[tuple[float, float], list[Interval]]:  # fmt: skip
    lower, person = pair_quality(scores, mated), owners[mated[:, 0]]
    found: dict[tuple[float, float], list[Interval]] = {}
    for fmr, errors in failed.items():
        for members in groups.members:
            inside = members[person]
            if not errors[inside].any():
                values = [Interval(np.nan, np.nan, np.nan)] * len(settings.rates)
            else:
                curve, who = edc(lower[inside], errors[inside]), np.unique(person[inside], return_inverse=True)[1]
                draws = bootstrap_pauc(
                    lower[inside], errors[inside], who, settings.rates, settings.repetitions, settings.seed
                )
                values = [Interval.of(curve.pauc(rate), draws[:, i]) for i, rate in enumerate(settings.rates)]
            for rate, value in zip(settings.rates, values, strict=True):
                found.setdefault((fmr, rate), []).append(value)
    return found


def _people(part: Manifest, people: Sequence[str], grouping: Grouping) -> list[dict[str, str]]:
    """Return the groups of each person, a value a column; empty where a person has none."""
    if grouping.people is None:
        names, columns = part.identities, {name: part.column(name) for name in grouping.columns}
        where = "the manifest"
    else:
        table = read_table(grouping.people, {*grouping.columns, "identity"})
        where, key = str(grouping.people), table.column_names[0]
        table = read_table(grouping.people, {*grouping.columns, key, "identity"})  # a name such as 007 is text
        key = "identity" if "identity" in table.column_names else key
        if missing := [name for name in grouping.columns if name not in table.column_names]:
            raise InputError(f"{where} has no column {missing[0]!r}, only {shortened(', '.join(table.column_names))}")
        names, columns = table[key].to_pylist(), {name: table[name].to_pylist() for name in grouping.columns}
    found: dict[str, dict[str, str]] = {}
    for index, person in enumerate(names):
        row = {column: _text(values[index]) for column, values in columns.items()}
        if found.setdefault(person, row) != row:
            raise InputError(f"{where} has two groups for {person!r}: {found[person]} and {row}; correct one")
    if unknown := [person for person in people if person not in found]:
        raise InputError(f"{where} lacks {len(unknown)} of {len(people)} people, first {unknown[0]!r}; add them")
    return [found[person] for person in people]


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _alarms(part: Manifest) -> dict[str, Floats]:
    """Return which images have any reason, and which each reason: 0 or 1, by its code."""
    if REASONS not in part.table.column_names:
        return {}
    texts = part.column(REASONS)
    unknown = [path for path, text in zip(part.paths, texts, strict=True) if not isinstance(text, str) or not text]
    if unknown:
        raise InputError(
            f"{len(unknown)} images have nothing in the column {REASONS!r}, first {unknown[0]!r}; score all of "
            "them with fiqa score --reasons, or drop the column"
        )
    codes = [set(text.split()) - {NO_REASONS} for text in texts]
    names = sorted(set().union(*codes))
    found = {ANY: np.array([bool(each) for each in codes], np.float64)}
    return found | {name: np.array([name in each for each in codes], np.float64) for name in names}
