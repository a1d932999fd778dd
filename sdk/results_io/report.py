"""The report: one HTML page with figures, a histogram, the best and the worst faces, and files without a score.

It needs no other file, and its size does not grow with the number of files.
"""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from importlib.metadata import version
from pathlib import Path
from string import Template
from types import MappingProxyType

from sdk.files import write_file
from sdk.models.card import ModelCard
from sdk.results_io.scored_face import ScoredFace
from sdk.results_io.tally import Histogram, Tally
from sdk.text import count, path_text, shown

BINS = 40
WIDTH, HEIGHT, MARGIN = 960, 180, 22
"""Size of the histogram and its margin, in units of its own."""
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
    """

    card: ModelCard
    device: str
    seconds: float


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
    write_file(path, make_page(tally, origin, pictures))


def make_page(tally: Tally, origin: Origin, pictures: Mapping[ScoredFace, bytes] = NONE) -> str:
    """Return the HTML of the page; it needs nothing else."""
    card, scores = origin.card, tally.scores
    low, high = _range(scores, card)
    ranked = tally.ranked()
    return Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8")).substitute(
        title=_safe(f"Face quality by {card.name}"),
        model=_safe(" · ".join(filter(None, (card.name, card.precision, card.licence)))),
        summary=_safe(card.summary),
        made=_safe(
            f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z} · fiqa {version('fiqa')} · {origin.device} · "
            f"{origin.seconds:.1f} s"
        ),
        tiles="".join(_tile(name, value) for name, value in _figures(tally)),
        histogram=_histogram(scores, low, high),
        low=f"{low:.4f}",
        high=f"{high:.4f}",
        step=f"{(high - low) / 200:.6f}",
        which=_which(len(ranked), scores.count),
        cards="".join(
            _figure(rank, face, face.thumbnail or pictures.get(face, b""), low, high) for rank, face in ranked
        ),
        failures=_failures(tally),
    )


def _safe(text: str) -> str:
    """Return a text for a page: without markup, and without characters that turn its direction round."""
    return escape(shown(text))


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
    if scores.count:
        values = (("best", scores.most), ("median", scores.median()), ("worst", scores.least))
        found += [(name, f"{value:.3f}") for name, value in values]
    return found


def _tile(name: str, value: str) -> str:
    return f"<div><dt>{name}</dt><dd>{value}</dd></div>"


def _histogram(scores: Histogram, low: float, high: float) -> str:
    counts = scores.bars(low, high, BINS)
    edges = [low + index * (high - low) / BINS for index in range(BINS + 1)]
    top = max(1, *counts)
    step = WIDTH / BINS
    bars = "".join(
        f'<rect x="{index * step + 1:.1f}" y="{HEIGHT - HEIGHT * number / top:.1f}" width="{step - 2:.1f}" '
        f'height="{HEIGHT * number / top:.1f}" rx="2" data-from="{start:.6f}" data-to="{end:.6f}">'
        f"<title>{start:.3f} to {end:.3f}: {count('face', number)}</title></rect>"
        for index, (number, start, end) in enumerate(zip(counts, edges, edges[1:], strict=False))
    )
    tallest = f'<text x="{(counts.index(max(counts)) + 0.5) * step:.1f}" y="-5" text-anchor="middle">{top:,}</text>'
    places = (("start", 0.0), *(("middle", share) for share in (0.25, 0.5, 0.75)), ("end", 1.0))
    ticks = "".join(
        f'<text x="{share * WIDTH:.1f}" y="{HEIGHT + MARGIN - 5}" text-anchor="{anchor}">'
        f"{low + share * (high - low):.2f}</text>"
        for anchor, share in places
    )
    return (
        f'<svg viewBox="0 {-MARGIN} {WIDTH} {HEIGHT + 2 * MARGIN}" role="img" aria-label="histogram">'
        f'<line x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>{bars}{ticks}{tallest}</svg>'
    )


def _figure(rank: int, face: ScoredFace, jpeg: bytes, low: float, high: float) -> str:
    score = 0.0 if face.score is None else face.score
    which = f"face {face.face + 1} · " if face.face else ""
    parts = [path_text(face.path)]
    if face.box is not None:
        parts.append("box " + ", ".join(f"{value:.0f}" for value in face.box))
    if face.confidence is not None:
        parts.append(f"detector {face.confidence:.2f}")
    picture = f' src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"' if jpeg else ""
    return (
        f'<figure data-score="{score:.6f}" data-name="{_safe(path_text(face.path).lower())}" '
        f'style="--share:{(score - low) / (high - low):.3f}" title="{_safe(" · ".join(parts))}">'
        f'<img alt="" width="112" height="112"{picture}>'
        f"<figcaption><b>{score:.3f}</b><small>#{rank:,}</small><i></i>"
        f"<span>{which}{_safe(path_text(face.path.name))}</span></figcaption></figure>\n"
    )


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
    return f"<tr><td>{_safe(first)}</td><td>{_safe(second)}</td></tr>"
