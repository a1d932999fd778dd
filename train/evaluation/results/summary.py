"""One table of many evaluations."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from sdk.files import write_file
from train.data.manifest import read_table, write_table
from train.evaluation.curves import FEWEST_ERRORS, Interval
from train.evaluation.results.tables import TOO_FEW, UNKNOWN, interval_cell, table_lines

Row = dict[str, Any]

FIGURES = ("pauc", "low", "high", "first_better")
"""Columns of `table.csv` that the summary has, of each discard rate."""


@dataclass(frozen=True, slots=True)
class Part:
    """An evaluation: its split, judge and protocol, and the folder of its results. A name may be empty."""

    split: str
    judge: str
    protocol: str
    folder: Path


def write_summary(parts: Sequence[Part], out: Path) -> None:
    """Write `summary.csv` and `summary.md` from the `table.csv` of each evaluation.

    Args:
        parts: The evaluations. All have the same discard rates.
        out: The folder.

    Raises:
        InputError: A table is missing or damaged.
        OutputError: The disk is full.
    """
    rows = [row for part in parts for row in _rows(part)]
    write_table(pa.Table.from_pylist(rows), out / "summary.csv")
    write_file(out / "summary.md", "\n".join(_markdown(rows)))


def _rows(part: Part) -> Iterable[Row]:
    for row in read_table(part.folder / "table.csv").to_pylist():
        if row["method"]:  # else the row is a note on an FMR that cannot be shown
            figures = {name: _number(value) for name, value in row.items() if name.partition("@")[0] in FIGURES}
            names = {"split": part.split, "judge": part.judge, "protocol": part.protocol}
            told = {"set": row["set"], "fmr": row["fmr"], "errors": row.get("errors")}
            yield {**names, **told, "method": str(row["method"]), **figures}


def _markdown(rows: Sequence[Row]) -> Iterable[str]:
    rates = [name.partition("@")[2] for name in rows[0] if name.startswith("pauc@")]
    first = rows[0]["method"]
    yield "pAUC: lower is better, 1 is a random discard. In brackets the 95 % interval, then the share of the bootstrap"
    yield f"draws in which {first} is better."
    yield ""
    for (split, judge, fmr), group in groupby(rows, lambda row: (row["split"], row["judge"], row["fmr"])):
        judged = f", judged by {judge}" if judge else ""
        yield from (f"## {split}{judged}, FMR {fmr:g}", "")
        heads = ["protocol", "set", "errors", "method", *(f"pAUC@{rate}" for rate in rates)]
        yield from table_lines(heads, _cells(group, rates))


def _cells(rows: Iterable[Row], rates: Sequence[str]) -> Iterable[list[str]]:
    for (protocol, name), group in groupby(rows, lambda row: (row["protocol"], row["set"])):
        methods = list(group)
        best = [min(_known(row[f"pauc@{rate}"]) for row in methods) for rate in rates]
        for index, row in enumerate(methods):
            cells = [_cell(row, rate, low, index > 0) for rate, low in zip(rates, best, strict=True)]
            errors = row["errors"]
            few = errors is not None and errors < FEWEST_ERRORS
            yield [protocol, name, UNKNOWN if errors is None else str(errors), row["method"]] + (
                [TOO_FEW] * len(cells) if few else cells
            )


def _cell(row: Row, rate: str, best: float, other: bool) -> str:
    value, low, high, share = (_known(row[f"{name}@{rate}"]) for name in FIGURES)
    text = interval_cell(Interval(value, low, high), value == best)
    return f"{text}; {share:.3f}" if other and not math.isnan(share) else text


def _number(value: object) -> float | None:
    """Return a figure of a CSV file, None where it is empty: a column of nothing else is read as text."""
    return float(value) if isinstance(value, int | float) else None


def _known(value: float | None) -> float:
    return math.nan if value is None else value
