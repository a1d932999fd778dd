"""Results of an evaluation as tables: terminal, CSV, Markdown."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.table import Table

from sdk.commands.console import cell
from sdk.files import write_file
from sdk.text import count
from train.data.manifest import write_table
from train.evaluation.curves import Interval, MethodResult, Point, SetResult
from train.evaluation.results.plots import plot_edc
from train.evaluation.tracks import VideoResult

TOO_FEW = "too few errors to tell"
"""Stands for the figures of fewer than `FEWEST_ERRORS` errors."""

UNKNOWN = "–"  # noqa: RUF001 - tables show a dash where nothing can be measured


def write_results(results: Sequence[SetResult], notes: Mapping[str, str], out: Path) -> None:
    """Write `table.csv`, `table.md`, `correlations.csv`, `edc.png` and `edc.svg` into a folder.

    Args:
        results: Results of the sets.
        notes: Description of the evaluation: columns of the CSV, and a line of the Markdown.
        out: The folder.
    """
    write_table(pa.Table.from_pylist([{**row, **notes} for row in rows_of(results)]), out / "table.csv")
    text = "\n".join([markdown(results), "; ".join(f"{name}: {value}" for name, value in notes.items()), ""])
    write_file(out / "table.md", text)
    correlations = _correlation_rows(results)
    if correlations:
        write_table(pa.Table.from_pylist(correlations), out / "correlations.csv")
    plot_edc(results, out / "edc")


def rows_of(results: Iterable[SetResult]) -> list[dict[str, Any]]:
    """Return a row for each set, FMR and method. An FMR that cannot be shown has one row, with a note and no method."""
    rows: list[dict[str, Any]] = []
    for result in results:
        counts = {"set": result.name, "images": result.images, "identities": result.identities}
        counts |= {"mated": result.mated, "non_mated": result.non_mated}
        for point in result.points:
            measured = {"fmr": point.fmr, "threshold": round(point.threshold, 6), "fnmr": round(point.fnmr, 6)}
            measured["errors"] = point.errors
            rows += [{**counts, **measured, **_figures(method)} for method in point.methods]
        for fmr in result.not_shown:
            rows.append({**counts, "fmr": fmr, "note": not_shown_note(result, fmr)})
    names = {name: None for row in rows for name in row}
    return [{name: row.get(name) for name in names} for row in rows]


def not_shown_note(result: SetResult, fmr: float) -> str:
    """Return why an FMR has no figures."""
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


def markdown(results: Sequence[SetResult]) -> str:
    """Return tables for each FMR: pAUCs with 95 % intervals, the best of each column in bold, and differences."""
    lines: list[str] = []
    for fmr in sorted({point.fmr for result in results for point in result.points}, reverse=True):
        shown = [(result, point) for result in results for point in result.points if point.fmr == fmr]
        columns = [(result.name, rate, point) for result, point in shown for rate in point.methods[0].pauc]
        heads = [f"{name}, pAUC@{rate:g} ({count('error', point.errors)})" for name, rate, point in columns]
        lines += [f"FMR {fmr:g}:", ""]
        lines += table_lines(["method", *heads], _pauc_cells(columns))
        for result, point in shown:
            lines.append(
                f"- {result.name}: {result.images} images of {result.identities} people, {result.mated} mated and "
                f"{result.non_mated} non-mated comparisons, {count('error', point.errors)}, FNMR {point.fnmr:.4f} at "
                f"threshold {point.threshold:.4f}"
            )
        first = columns[0][2].methods[0].method
        if len(columns[0][2].methods) > 1:
            lines += ["", f"pAUC less that of {first}, and share of the draws in which {first} is better:", ""]
            lines += table_lines(["method", *heads], _difference_cells(columns))
    for result in results:
        lines += [f"- {result.name}: {not_shown_note(result, fmr)}" for fmr in result.not_shown]
        if len(result.spearman) > 1:
            lines += ["", f"Rank correlation on {result.name}: Spearman above the diagonal, Kendall below:", ""]
            lines += _correlation_table(result)
    return "\n".join(lines).replace("\n\n\n", "\n\n")


Column = tuple[str, float, Point]
"""Set, discard rate, and the methods at a threshold."""


def _pauc_cells(columns: Sequence[Column]) -> Iterable[list[str]]:
    best = [min((item.pauc[rate].value for item in point.methods), default=math.nan) for _, rate, point in columns]
    for index, first in enumerate(columns[0][2].methods):
        cells = [first.method]
        for (_, rate, point), low in zip(columns, best, strict=True):
            value = point.methods[index].pauc[rate]
            cells.append(interval_cell(value, value.value == low) if point.tells else TOO_FEW)
        yield cells


def _difference_cells(columns: Sequence[Column]) -> Iterable[list[str]]:
    for index, first in list(enumerate(columns[0][2].methods))[1:]:
        cells = [first.method]
        for _, rate, point in columns:
            method = point.methods[index]
            share = method.first_better[rate]
            text = f"{interval_cell(method.difference[rate])}; {UNKNOWN if math.isnan(share) else f'{share:.3f}'}"
            cells.append(text if point.tells else TOO_FEW)
        yield cells


def interval_cell(interval: Interval, bold: bool = False) -> str:
    """Return a value with its 95 % interval as text."""
    if math.isnan(interval.value):
        return UNKNOWN
    text = f"**{interval.value:.3f}**" if bold else f"{interval.value:.3f}"
    return f"{text} ({interval.low:.3f} to {interval.high:.3f})"


def _correlation_table(result: SetResult) -> list[str]:
    names = [method.method for method in result.points[0].methods]
    rows = []
    for i, name in enumerate(names):
        values = [(result.spearman if j > i else result.kendall)[i, j] for j in range(len(names))]
        texts = [UNKNOWN if math.isnan(value) else f"{value:.2f}" for value in values]
        rows.append([name, *("" if i == j else text for j, text in enumerate(texts))])
    return table_lines(["", *names], rows)


def table_lines(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table of Markdown as lines, with an empty line after it."""
    lines = [heads, ["---"] * len(heads), *rows]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]


def terminal_table(results: Sequence[SetResult]) -> Table:
    """Return the pAUCs as a table for a terminal."""
    rates = list(results[0].points[0].methods[0].pauc)
    heads = (f"pAUC@{rate:g} (95 %)" for rate in rates)
    table = Table("set", "FMR", "errors", "method", *heads, title="lower is better")
    for result in results:
        for point in result.points:
            for method in point.methods:
                figures = [interval_cell(value) if point.tells else TOO_FEW for value in method.pauc.values()]
                table.add_row(cell(result.name), f"{point.fmr:g}", str(point.errors), cell(method.method), *figures)
        for fmr in result.not_shown:
            table.add_row(cell(result.name), f"{fmr:g}", "", not_shown_note(result, fmr))
    return table


def _correlation_rows(results: Sequence[SetResult]) -> list[dict[str, Any]]:
    return [
        {
            "set": result.name,
            "a": result.points[0].methods[i].method,
            "b": result.points[0].methods[j].method,
            "spearman": round(float(result.spearman[i, j]), 4),
            "kendall": round(float(result.kendall[i, j]), 4),
        }
        for result in results
        for i in range(len(result.spearman))
        for j in range(i)
    ]


def write_videos(results: Sequence[VideoResult], out: Path) -> None:
    """Write `video.csv` and `video.md`, with a row for each FMR and method of choosing the frame."""
    rows = [
        {
            "fmr": result.fmr,
            "threshold": round(result.threshold, 6),
            "tracks": result.tracks,
            "mated": result.mated,
            "frame": name,
            "fnmr": round(value.value, 6),
            "low": round(value.low, 6),
            "high": round(value.high, 6),
            "closed": None if math.isnan(result.closed(name)) else round(result.closed(name), 4),
        }
        for result in results
        for name, value in result.fnmr.items()
    ]
    write_table(pa.Table.from_pylist(rows), out / "video.csv")
    lines = table_lines(["FMR", "frame", "FNMR", "random to oracle"], _video_cells(results))
    text = "\n".join(lines)
    write_file(out / "video.md", text)


def video_table(results: Sequence[VideoResult]) -> Table:
    """Return the FNMRs as a table for a terminal."""
    table = Table("FMR", "frame", "FNMR (95 %)", "random to oracle", title="lower is better")
    for cells in _video_cells(results):
        table.add_row(*map(cell, cells))
    return table


def _video_cells(results: Sequence[VideoResult]) -> Iterable[list[str]]:
    for result in results:
        for name, value in result.fnmr.items():
            closed = result.closed(name)
            yield [f"{result.fmr:g}", name, interval_cell(value), UNKNOWN if math.isnan(closed) else f"{closed:.0%}"]
