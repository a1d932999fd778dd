"""The report: one HTML page with figures, a histogram, the best and the worst faces, and files without a score.

It needs no other file, and its size does not grow with the number of files.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from string import Template
from types import MappingProxyType

from sdk.decision.texts import default_texts
from sdk.files import write_file
from sdk.models.card import ModelCard
from sdk.results_io.report_parts import FEWEST_STEPS, card, histogram, round_step, steps_below
from sdk.results_io.rows import csv_text
from sdk.results_io.scored_face import ScoredFace
from sdk.results_io.tally import Histogram, Tally
from sdk.text import path_text, safe_markup

NONE: Mapping[ScoredFace, bytes] = MappingProxyType({})
REASONS = 30
"""Most reasons of failures that are listed."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Origin of the scores of a page.

    Attributes:
        card: Card of the model.
        device: Device that it ran on.
        seconds: Seconds that the run took.
        threshold: Score from which on faces were accepted; None where there was none.
        texts: Text of each reason, by its code. The page has them also for faces of an earlier run.
    """

    card: ModelCard
    device: str
    seconds: float
    threshold: float | None = None
    texts: Mapping[str, str] = field(default_factory=default_texts)


def write_page(path: Path, tally: Tally, origin: Origin, pictures: Mapping[ScoredFace, bytes] = NONE) -> None:
    """Write the page.

    Args:
        path: File to write.
        tally: What was scored. The faces that it keeps are shown with their pictures.
        origin: How it was scored.
        pictures: Pictures of faces that have no thumbnail.

    Raises:
        InputError: The file cannot be written.
        OutputError: The disk is full.
    """
    write_file(path, make_page(tally, origin, pictures, path.parent))


def make_page(tally: Tally, origin: Origin, pictures: Mapping[ScoredFace, bytes] = NONE, folder: Path = Path()) -> str:
    """Return the HTML of the page; it needs nothing else. Its links to photos go from `folder`."""
    model, scores = origin.card, tally.scores
    low, high = _range(scores, model)
    ranked = tally.ranked()
    return Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8")).substitute(
        title=safe_markup(f"Face quality by {model.name}"),
        model=safe_markup(" · ".join(filter(None, (model.name, model.precision, model.licence)))),
        summary=safe_markup(model.summary),
        made=safe_markup(
            f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z} · fiqa {version('fiqa')} · {origin.device} · "
            f"{origin.seconds:.1f} s"
        ),
        tiles="".join(_tile(name, value) for name, value in _figures(tally)),
        histogram=histogram(scores, low, high),
        low=f"{low:g}",
        high=f"{high:g}",
        step=f"{round_step(low, high, FEWEST_STEPS):g}",
        data=_data(tally, origin.threshold, low, high),
        which=_which(len(ranked), scores.count),
        cards="".join(
            card(rank, face, face.thumbnail or pictures.get(face, b""), (low, high), folder, origin.texts)
            for rank, face in ranked
        ),
        failures=_failures(tally),
    )


def _data(tally: Tally, threshold: float | None, low: float, high: float) -> str:
    """Return what the script of the page counts with, as JSON."""
    return json.dumps(
        {
            "below": steps_below(tally.scores, low, high),
            "faces": tally.scores.count,
            "threshold": threshold,
            "rejected": tally.rejected,
            "columns": csv_text((), header=True, end=""),
        },
        separators=(",", ":"),
    )


def _which(kept: int, total: int) -> str:
    if kept == total:
        return ""
    return f"<p>The {kept - kept // 2:,} best and the {kept // 2:,} worst of {total:,} faces.</p>"


def _range(scores: Histogram, card: ModelCard) -> tuple[float, float]:
    """Return the range of the model, widened in tenths to hold the scores found."""
    low, high = card.score_range
    if scores.count:
        low, high = min(low, math.floor(10 * scores.least) / 10), max(high, math.ceil(10 * scores.most) / 10)
    return low, max(high, low + 0.1)


def _figures(tally: Tally) -> list[tuple[str, str]]:
    scores = tally.scores
    figures = [("files", tally.files), ("faces", scores.count), ("without a score", tally.failed)]
    found = [(name, f"{number:,}") for name, number in figures]
    if tally.decided:
        found.append(("rejected", f"{tally.rejected:,} of {tally.decided:,}"))
    if scores.count:
        values = (("best", scores.most), ("median", scores.median()), ("worst", scores.least))
        found += [(name, f"{value:.3f}") for name, value in values]
    return found


def _tile(name: str, value: str) -> str:
    return f"<div><dt>{name}</dt><dd>{value}</dd></div>"


def _failures(tally: Tally) -> str:
    if not tally.failed:
        return ""
    rows = "".join(_row(path_text(face.path), face.error) for face in tally.failures)
    more = tally.failed > len(tally.failures)
    return (
        f"<section><h2>Without a score ({tally.failed:,})</h2>{_reasons(tally) if more else ''}"
        f"{f'<p>The first {len(tally.failures):,}:</p>' if more else ''}"
        f"<table><thead><tr><th>File</th><th>Reason</th></tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _reasons(tally: Tally) -> str:
    common = tally.reasons.most_common(REASONS)
    rest = tally.failed - sum(number for _, number in common)
    rows = "".join(_row(f"{number:,}", reason) for reason, number in [*common, *([("others", rest)] if rest else [])])
    return f"<table><thead><tr><th>Count</th><th>Reason</th></tr></thead><tbody>{rows}</tbody></table>"


def _row(first: str, second: str) -> str:
    return f"<tr><td>{safe_markup(first)}</td><td>{safe_markup(second)}</td></tr>"
