"""The picture of a calibration: its curve, the scores, and what a threshold discards."""

from pathlib import Path

import numpy as np

from sdk.decision.calibrate import Fitted
from sdk.decision.edc import edc
from sdk.decision.fitting import curve_band
from sdk.files import write_file


def draw(fitted: Fitted, path: Path) -> None:
    """Write the picture, `.png` or `.svg`.

    Raises:
        InputError: The file cannot be written there.
    """
    import io

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    calibration, outcomes = fitted.calibration, fitted.outcomes
    rows = 1 if outcomes is None else 3
    figure, axes = plt.subplots(rows, 1, figsize=(7, 2.6 * rows), squeeze=False, layout="constrained")
    scores = axes[-2 if outcomes is not None else 0, 0]
    scores.hist(fitted.scores, bins=60, color="#4a7ebb")
    scores.set(xlabel="score", ylabel="faces", title=f"{len(fitted.scores):,} faces")
    if outcomes is not None:
        curve, discard = axes[0, 0], axes[2, 0]
        x = np.linspace(min(calibration.scores), max(calibration.scores), 200)
        low, high = curve_band(outcomes, x)
        curve.fill_between(x, 100 * low, 100 * high, color="#4a7ebb", alpha=0.25, label="95 % interval")
        curve.plot(calibration.scores, 100 * np.array(calibration.rates), color="#1f3f66", label="quality")
        curve.set(
            xlabel="score (the lower one of a comparison)", ylabel="match rate, %",
            title=f"{calibration.model}, judged by {calibration.judge} at FMR {calibration.fmr:g}",
        )  # fmt: skip
        whole = edc(outcomes.score, ~outcomes.matched)
        discard.plot(100 * whole.discard, 100 * whole.fnmr, color="#1f3f66")
        discard.set(
            xlabel="comparisons discarded, %", ylabel="FNMR, %", xlim=(0, 100), title="Error versus discard"
        )  # fmt: skip
        scores.set_xlim(curve.get_xlim())
        for threshold in calibration.thresholds:
            discard.axvline(100 * (threshold.comparisons or 0), color="#c0504d", linestyle="--", linewidth=1)
    for axis in axes[: max(1, rows - 1), 0]:
        for threshold in calibration.thresholds:
            axis.axvspan(threshold.low, threshold.high, color="#c0504d", alpha=0.12)
            axis.axvline(threshold.score, color="#c0504d", linestyle="--", linewidth=1)
            axis.annotate(
                threshold.name, (threshold.score, 1), xycoords=("data", "axes fraction"), xytext=(3, -10),
                textcoords="offset points", color="#c0504d", fontsize=8,
            )  # fmt: skip
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:].lower(), dpi=120)
    plt.close(figure)
    write_file(path, content.getvalue())
