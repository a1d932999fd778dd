"""Plots of curves and histograms, and contact sheets."""

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray

from sdk.errors import ImageError
from sdk.files import write_file
from train.data.manifest import Manifest
from train.evaluation.curves import Scores, SetResult

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

logger = logging.getLogger(__name__)


def plot_edc(results: Sequence[SetResult], path: Path, most: float = 0.5) -> None:
    """Draw the curves of all methods, a column for each set, a row for each FMR, as `<path>.png` and `<path>.svg`."""
    rates = sorted({point.fmr for result in results for point in result.points}, reverse=True)
    size = (5.2 * len(results), 4 * len(rates))
    figure, axes = plt.subplots(len(rates), len(results), figsize=size, squeeze=False, layout="constrained")
    for column, result in enumerate(results):
        points = {point.fmr: point for point in result.points}
        for row, fmr in enumerate(rates):
            axis = axes[row][column]
            axis.set(title=result.name, xlabel="fraction of comparisons discarded", ylabel=f"FNMR at FMR {fmr:g}")
            if fmr not in points:
                axis.text(0.5, 0.5, "too few comparisons", ha="center", transform=axis.transAxes)
                continue
            for index, method in enumerate(points[fmr].methods):
                curve, width = method.curve, 2.4 if index == 0 else 1.3
                shown = curve.discard <= most
                axis.step(curve.discard[shown], curve.fnmr[shown], where="post", lw=width, label=method.method)
            axis.set_xlim(0, most)
            axis.set_ylim(bottom=0)
            axis.grid(alpha=0.3)
    handles, labels = next(axis for axis in axes.flat if axis.lines).get_legend_handles_labels()
    axes[0][0].legend(handles, labels, fontsize="small")
    _save(figure, path)


def plot_histograms(scores: Scores, damaged: NDArray[np.bool_], path: Path) -> None:
    """Draw the distribution of each method's scores on undamaged and damaged images, as .png and .svg."""
    figure, axes = plt.subplots(1, len(scores), figsize=(3 * len(scores), 2.6), squeeze=False, layout="constrained")
    for axis, (name, values) in zip(axes[0], scores.items(), strict=True):
        bins = np.histogram_bin_edges(values, 40).tolist()
        for label, mask in (("clean", ~damaged), ("damaged", damaged)):
            if mask.any():
                axis.hist(values[mask], bins, alpha=0.6, label=label)
        axis.set(title=name, yticks=[])
    if damaged.any():
        axes[0][0].legend()
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    for ending in ("png", "svg"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=ending, dpi=130)
        _write(path.with_name(f"{path.name}.{ending}"), buffer.getvalue())
    plt.close(figure)


def contact_sheet(manifest: Manifest, scores: NDArray[np.floating[Any]], path: Path, columns: int = 12) -> None:
    """Draw the faces with the lowest and the highest scores, two rows of each, in the order of their scores.

    An image that is no crop cannot be drawn: then there is no sheet, and the log says so.
    """
    order = np.argsort(scores, kind="stable")
    each = min(2 * columns, len(order) // 2)
    tiles = []
    for row in [*order[:each], *order[-each:]]:
        try:
            face = manifest.load_face(int(row)).copy()
        except ImageError as error:
            logger.warning("no contact sheet: %s", error)
            return
        cv2.putText(face, f"{scores[row]:.2f}", (3, 108), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 3)
        cv2.putText(face, f"{scores[row]:.2f}", (3, 108), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1)
        tiles.append(face)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    _write(path, cv2.imencode(".png", np.vstack(rows))[1].tobytes())


def _write(path: Path, data: bytes) -> None:
    write_file(path, data)
