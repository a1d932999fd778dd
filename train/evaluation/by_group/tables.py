"""Tables of results by group: CSV and Markdown."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sdk.files import write_file
from train.data.manifest import write_table
from train.evaluation.by_group.grouping import GroupsResult
from train.evaluation.by_group.statistics import RATE, Gap, Groups, Result
from train.evaluation.curves import Interval
from train.evaluation.results.tables import interval_cell, table_lines


def write_groups(results: Sequence[GroupsResult], threshold: float | None, out: Path) -> None:
    """Write `groups.csv` and `groups.md`, with a row for each set, method and group.

    Args:
        results: A result a set.
        threshold: Score of the first method from which on images are accepted; None where each method has its own.
        out: The folder.
    """
    write_table(pa.Table.from_pylist(_rows(results)), out / "groups.csv")
    write_file(out / "groups.md", markdown(results, threshold))


def _rows(results: Sequence[GroupsResult]) -> list[dict[str, Any]]:
    rows = []
    for result in results:
        people = result.groups.members.sum(axis=1)
        for method in result.methods:
            for index, (group, kind) in enumerate(zip(result.groups.names, result.groups.kinds, strict=True)):
                row: dict[str, Any] = {
                    "set": result.name, "method": method.method, "column": kind, "group": group,
                    "people": int(people[index]), "images": result.images[index],
                }  # fmt: skip
                for (fmr, rate), values in method.pauc.items():
                    row |= _cells(f"pauc@{rate:g} fmr {fmr:g}", values[index])
                if method.turned_away is not None:
                    row |= _cells("turned_away", _interval(method.turned_away, index))
                for code, alarms in result.alarms.items():
                    row |= _cells(f"reason {code}", _interval(alarms, index))
                rows.append(row)
    names = {name: None for row in rows for name in row}
    return [{name: row.get(name) for name in names} for row in rows]


def _cells(name: str, interval: Interval) -> dict[str, float | None]:
    values = {name: interval.value, f"{name} low": interval.low, f"{name} high": interval.high}
    return {key: None if math.isnan(value) else round(value, 6) for key, value in values.items()}


def _interval(result: Result, index: int) -> Interval:
    return Interval(float(result.values[index]), *map(float, result.intervals[index]))


def markdown(results: Sequence[GroupsResult], threshold: float | None) -> str:
    """Return the tables: a row a group, and the largest gap between the groups of a column."""
    lines = []
    for result in results:
        for method in result.methods:
            heads = ["group", "people", "images", *(f"pAUC@{rate:g}, FMR {fmr:g}" for fmr, rate in method.pauc)]
            columns: list[Callable[[int], str]] = [
                lambda index, values=values: interval_cell(values[index])  # type: ignore[misc]
                for values in method.pauc.values()
            ]
            lines += [f"{result.name}, {method.method}:", ""]
            shares = {} if method.turned_away is None else {_head(threshold): method.turned_away}
            lines += _table(result, heads, columns, shares)
        if result.alarms:
            lines += [f"{result.name}, share of the images with a reason:", ""]
            lines += _table(result, ["group", "people", "images"], [], result.alarms)
    return "\n".join(
        [
            *lines,
            "Intervals (95 %): a bootstrap over people. By chance: 5 % of random groups of these sizes exceed it.",
            "",
        ]
    )


def _head(threshold: float | None) -> str:
    return f"turned away, {RATE:.0%} of all" if threshold is None else f"turned away below {threshold:g}"


def _table(
    result: GroupsResult, heads: Sequence[str], columns: Sequence[Callable[[int], str]], shares: dict[str, Result]
) -> list[str]:
    groups, rows = result.groups, []
    for index, (name, people) in enumerate(zip(groups.names, groups.members.sum(axis=1), strict=True)):
        cells = [name, str(people), str(result.images[index]), *(column(index) for column in columns)]
        rows.append([*cells, *(_share_cell(_interval(share, index)) for share in shares.values())])
        if shares and _is_last(groups, index):
            gaps = [_gap_cell(share.gaps[groups.kinds[index]]) for share in shares.values()]
            rows.append([f"largest gap, {groups.kinds[index]}", *[""] * (len(cells) - 1), *gaps])
    return table_lines([*heads, *shares], rows)


def _is_last(groups: Groups, index: int) -> bool:
    return bool(groups.kinds[index]) and groups.kinds[index] not in groups.kinds[index + 1 :]


def _share_cell(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _gap_cell(gap: Gap) -> str:
    return f"{100 * gap.value:.1f} points (by chance {100 * gap.chance:.1f})"
