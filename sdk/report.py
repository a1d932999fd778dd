"""One self-contained HTML page: figures, histogram, faces from best to worst, files that could not be scored."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

from sdk import __version__
from sdk.batch import ScoredFace
from sdk.files import write_file
from sdk.models.card import ModelCard
from sdk.tables import path_text

BINS = 40
WIDTH, HEIGHT, MARGIN = 960, 180, 22
"""Of the histogram, in its own units."""


@dataclass(frozen=True, slots=True)
class Run:
    """How the scores of a page were made.

    Attributes:
        card: The model's.
        device: Where it ran.
        seconds: How long it took.
    """

    card: ModelCard
    device: str
    seconds: float


def write_page(path: Path, faces: Sequence[ScoredFace], run: Run) -> None:
    """Write the page, beside the target first and then renamed.

    Args:
        path: The page.
        faces: Scored faces with thumbnails, and rows with errors, in any order.
        run: How they were scored.

    Raises:
        InputError: The file cannot be written.
    """
    page = make_page(faces, run)
    write_file(path, page)


def make_page(faces: Sequence[ScoredFace], run: Run) -> str:
    """The page's HTML; it refers to nothing outside itself."""
    scored = sorted((face for face in faces if face.score is not None), key=_score, reverse=True)
    failed = [face for face in faces if face.score is None]
    scores = np.array([_score(face) for face in scored])
    low, high = _range(scores, run.card)
    card = run.card
    return Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8")).substitute(
        title=f"Face quality by {escape(card.name)}",
        model=escape(" · ".join(filter(None, (card.name, card.precision, card.licence)))),
        summary=escape(card.summary),
        made=escape(
            f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z} · fiqa {__version__} · {run.device} · {run.seconds:.1f} s"
        ),
        tiles="".join(_tile(name, value) for name, value in _figures(scores, faces, failed)),
        histogram=_histogram(scores, low, high),
        low=f"{low:.4f}",
        high=f"{high:.4f}",
        step=f"{(high - low) / 200:.6f}",
        cards="".join(_figure(rank, face, low, high) for rank, face in enumerate(scored, 1)),
        failures=_failures(failed),
    )


def _score(face: ScoredFace) -> float:
    return 0.0 if face.score is None else face.score


def _range(scores: NDArray[np.float64], card: ModelCard) -> tuple[float, float]:
    """The model's range, widened in tenths to hold the scores found."""
    low, high = card.score_range
    if not len(scores):
        return low, high
    return min(low, math.floor(10 * scores.min()) / 10), max(high, math.ceil(10 * scores.max()) / 10)


def _figures(
    scores: NDArray[np.float64], faces: Sequence[ScoredFace], failed: Sequence[ScoredFace]
) -> list[tuple[str, str]]:
    files = len({face.path for face in faces})
    figures = [("files", f"{files:,}"), ("faces", f"{len(scores):,}"), ("files without a score", f"{len(failed):,}")]
    if len(scores):
        figures += [
            (name, f"{value:.3f}")
            for name, value in (("best", scores.max()), ("median", np.median(scores)), ("worst", scores.min()))
        ]
    return figures


def _tile(name: str, value: str) -> str:
    return f"<div><dt>{name}</dt><dd>{value}</dd></div>"


def _histogram(scores: NDArray[np.float64], low: float, high: float) -> str:
    counts, edges = np.histogram(scores, BINS, (low, high))
    top = max(int(counts.max()), 1)
    step = WIDTH / BINS
    bars = "".join(
        f'<rect x="{index * step + 1:.1f}" y="{HEIGHT - HEIGHT * count / top:.1f}" width="{step - 2:.1f}" '
        f'height="{HEIGHT * count / top:.1f}" rx="2" data-from="{start:.6f}" data-to="{end:.6f}">'
        f"<title>{start:.3f} to {end:.3f}: {count} faces</title></rect>"
        for index, (count, start, end) in enumerate(zip(counts, edges, edges[1:], strict=False))
    )
    tallest = f'<text x="{(counts.argmax() + 0.5) * step:.1f}" y="-5" text-anchor="middle">{top}</text>'
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


def _figure(rank: int, face: ScoredFace, low: float, high: float) -> str:
    score = _score(face)
    share = (score - low) / (high - low) if high > low else 1.0
    which = f"face {face.face + 1} · " if face.face else ""
    parts = [path_text(face.path)]
    if face.box is not None:
        parts.append("box " + ", ".join(f"{value:.0f}" for value in face.box))
    if face.confidence is not None:
        parts.append(f"detector {face.confidence:.2f}")
    picture = base64.b64encode(face.thumbnail).decode()
    return (
        f'<figure data-score="{score:.6f}" data-name="{escape(path_text(face.path).lower())}" '
        f'style="--share:{share:.3f}" title="{escape(" · ".join(parts))}">'
        f'<img alt="" width="112" height="112" src="data:image/jpeg;base64,{picture}">'
        f"<figcaption><b>{score:.3f}</b><small>#{rank}</small><i></i>"
        f"<span>{which}{escape(path_text(Path(face.path.name)))}</span></figcaption></figure>\n"
    )


def _failures(failed: Sequence[ScoredFace]) -> str:
    if not failed:
        return ""
    rows = "".join(f"<tr><td>{escape(path_text(face.path))}</td><td>{escape(face.error)}</td></tr>" for face in failed)
    return (
        f"<section><h2>Files without a score ({len(failed)})</h2>"
        f"<table><thead><tr><th>File</th><th>Reason</th></tr></thead><tbody>{rows}</tbody></table></section>"
    )
