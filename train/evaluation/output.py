"""Results as a table (terminal, CSV, Markdown), curves, histograms, and a contact sheet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.table import Table

from train.data.manifest import Manifest, write_table
from train.evaluation.protocol import SetResult, rows_of

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def write_results(results: Sequence[SetResult], out: Path) -> None:
    """Write `table.csv`, `table.md`, `correlations.csv`, `edc.png` and `edc.svg` into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    write_table(pa.Table.from_pylist(rows_of(results)), out / "table.csv")
    (out / "table.md").write_text(markdown(results))
    write_table(pa.Table.from_pylist(_correlation_rows(results)), out / "correlations.csv")
    plot_edc(results, out)


def markdown(results: Sequence[SetResult]) -> str:
    """A Markdown table; pAUCs with their 95 % intervals, the best of each column in bold."""
    rates = list(results[0].methods[0].pauc)
    heads = [f"{result.name}, pAUC@{rate:g}" for result in results for rate in rates]
    lines = [f"| method | {' | '.join(heads)} |", f"| --- |{' --- |' * len(heads)}"]
    best = [min(method.pauc[rate][0] for method in result.methods) for result in results for rate in rates]
    for index, first in enumerate(results[0].methods):
        cells = []
        values = [result.methods[index].pauc[rate] for result in results for rate in rates]
        for (value, low, high), lowest in zip(values, best, strict=True):
            text = f"**{value:.3f}**" if value == lowest else f"{value:.3f}"
            cells.append(f"{text} ({low:.3f} to {high:.3f})")
        lines.append(f"| {first.method} | {' | '.join(cells)} |")
    notes = [
        f"{result.name}: {result.images} images of {result.identities} people, {result.mated} mated comparisons, "
        f"FNMR {result.fnmr:.4f} at FMR {result.fmr:g} (threshold {result.threshold:.4f})"
        for result in results
    ]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes), ""])


def terminal_table(results: Sequence[SetResult]) -> Table:
    """The same for a terminal."""
    rates = list(results[0].methods[0].pauc)
    table = Table("set", "method", *(f"pAUC@{rate:g} (95 %)" for rate in rates), title="lower is better")
    for result in results:
        for method in result.methods:
            cells = (f"{value:.3f} ({low:.3f} to {high:.3f})" for value, low, high in method.pauc.values())
            table.add_row(result.name, method.method, *cells)
    return table


def _correlation_rows(results: Sequence[SetResult]) -> list[dict[str, Any]]:
    return [
        {
            "set": result.name,
            "a": result.methods[i].method,
            "b": result.methods[j].method,
            "spearman": round(float(result.spearman[i, j]), 4),
            "kendall": round(float(result.kendall[i, j]), 4),
        }
        for result in results
        for i in range(len(result.methods))
        for j in range(i)
    ]


def plot_edc(results: Sequence[SetResult], out: Path, most: float = 0.5) -> None:
    """Curves of all methods, one panel a set, as `edc.png` and `edc.svg`."""
    figure, axes = plt.subplots(1, len(results), figsize=(5.2 * len(results), 4), squeeze=False, layout="constrained")
    for axis, result in zip(axes[0], results, strict=True):
        for index, method in enumerate(result.methods):
            shown = method.curve.discard <= most
            width = 2.4 if index == 0 else 1.3
            curve = method.curve
            axis.step(curve.discard[shown], curve.fnmr[shown], where="post", lw=width, label=method.method)
        axis.set(title=result.name, xlabel="fraction of comparisons discarded", ylabel=f"FNMR at FMR {result.fmr:g}")
        axis.set_xlim(0, most)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0][0].legend()
    for suffix in ("png", "svg"):
        figure.savefig(out / f"edc.{suffix}", dpi=130)
    plt.close(figure)


def plot_histograms(scores: Mapping[str, NDArray[np.floating[Any]]], damaged: NDArray[np.bool_], path: Path) -> None:
    """Distribution of each method's scores on undamaged and damaged images."""
    figure, axes = plt.subplots(1, len(scores), figsize=(3 * len(scores), 2.6), squeeze=False, layout="constrained")
    for axis, (name, values) in zip(axes[0], scores.items(), strict=True):
        bins = np.histogram_bin_edges(values, 40).tolist()
        axis.hist(values[~damaged], bins, alpha=0.6, label="clean")
        axis.hist(values[damaged], bins, alpha=0.6, label="damaged")
        axis.set(title=name, yticks=[])
    axes[0][0].legend()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def contact_sheet(manifest: Manifest, scores: NDArray[np.floating[Any]], path: Path, columns: int = 12) -> None:
    """The least and the most liked faces: two rows of each, worst first."""
    order = np.argsort(scores, kind="stable")
    each = min(2 * columns, len(order) // 2)
    chosen = [*order[:each], *order[-each:]]
    tiles = []
    for row in chosen:
        face = manifest.load_face(int(row)).copy()
        cv2.putText(face, f"{scores[row]:.2f}", (3, 108), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 3)
        cv2.putText(face, f"{scores[row]:.2f}", (3, 108), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1)
        tiles.append(face)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    cv2.imwrite(str(path), np.vstack(rows))
