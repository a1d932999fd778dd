"""Results of an evaluation as rows of a table."""

import math
from collections.abc import Iterable
from typing import Any

from train.evaluation.curves import MethodResult, SetResult


def rows_of(results: Iterable[SetResult]) -> list[dict[str, Any]]:
    """Return a row for each set, FMR and method. An FMR that cannot be shown has one row, with a note and no method."""
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
