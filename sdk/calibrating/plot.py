"""The picture of a calibration: its curve, the scores, and what a threshold discards."""

import io
from pathlib import Path

import numpy as np

from sdk.decision.calibrate import Fitted
from sdk.decision.edc import edc
from sdk.decision.fitting import curve_band
from sdk.files import write_file

BLUE, DARK, RED = "#4a7ebb", "#1f3f66", "#c0504d"


def draw(fitted: Fitted, path: Path) -> None:
    """Write the picture, `.png` or `.svg`.

    Raises:
        InputError: The file cannot be written there.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    calibration, outcomes = fitted.calibration, fitted.outcomes
    rows = 1 if outcomes is None else 3
    figure, axes = plt.subplots(rows, 1, figsize=(7, 2.6 * rows), squeeze=False, layout="constrained")
    span = np.quantile(fitted.scores, (0.001, 1.0)) if outcomes is None else (outcomes.score.min(), fitted.scores.max())
    margin = 0.03 * (span[1] - span[0])
    limits = (span[0] - margin, span[1] + margin)
    scores = axes[0 if outcomes is None else 1, 0]
    scores.hist(fitted.scores, bins=60, range=limits, color=BLUE)
    scores.set(xlabel="score", ylabel="faces", xlim=limits, title=f"{len(fitted.scores):,} faces")
    if outcomes is not None:
        curve, discard = axes[0, 0], axes[2, 0]
        x = np.linspace(*limits, 200)
        rates = calibration.match_rates(x)
        if rates is None:
            text = f"undecided: {outcomes.errors} of {len(outcomes.score)} comparisons fail"
            curve.text(0.5, 0.5, text, transform=curve.transAxes, ha="center")
        else:
            low, high = curve_band(outcomes, x)
            curve.fill_between(x, 100 * low, 100 * high, color=BLUE, alpha=0.25)
            curve.plot(x, 100 * rates, color=DARK, clip_on=False)
        curve.set(
            xlabel="score (the lower one of a comparison)", ylabel="match rate, %", xlim=limits,
            title=f"{calibration.model}, judged by {calibration.judge} at FMR {calibration.fmr:g}",
        )  # fmt: skip
        whole = edc(outcomes.score, ~outcomes.matched)
        discard.plot(100 * whole.discard, 100 * whole.fnmr, color=DARK, clip_on=False)
        discard.set(
            xlabel="comparisons discarded, %", ylabel="FNMR, %", xlim=(0, 100), title="Error versus discard"
        )  # fmt: skip
        for axis in (curve, discard):  # no room for rates beyond 0 and 100 %
            low_end, high_end = axis.get_ylim()
            axis.set_ylim(max(0, low_end), min(100, high_end) if outcomes.errors else 100)
        for threshold in calibration.thresholds:
            discard.axvline(100 * (threshold.comparisons or 0), color=RED, linestyle="--", linewidth=1)
    for axis in axes[: max(1, rows - 1), 0]:
        for place, threshold in enumerate(calibration.thresholds):  # two may have the same score
            axis.axvspan(threshold.low, threshold.high, color=RED, alpha=0.12)
            axis.axvline(threshold.score, color=RED, linestyle="--", linewidth=1)
            axis.text(
                threshold.score, 0.03 + 0.1 * place, f" {threshold.name}", transform=axis.get_xaxis_transform(),
                color=RED, fontsize=8,
            )  # fmt: skip
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:].lower(), dpi=120)
    plt.close(figure)
    write_file(path, content.getvalue())
