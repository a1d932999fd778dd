"""Parts of the report: the histogram, and the card of a face."""

import base64
import math
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from sdk.results import Reason
from sdk.results_io.rows import csv_text
from sdk.results_io.scored_face import ScoredFace
from sdk.results_io.tally import Histogram
from sdk.text import count, path_text, safe_markup

BINS = 40
WIDTH, HEIGHT = 960, 180
"""Size of the histogram, in units of its own; it is drawn as wide as the page."""

FEWEST_STEPS = 500
"""The slider has up to five or ten times as many, so that a step is a round number."""


def round_step(low: float, high: float, fewest: int) -> float:
    """Return the largest power of ten that divides a range into at least so many steps."""
    return float(10.0 ** math.floor(math.log10((high - low) / fewest) + 1e-9))


def round_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Return round numbers from `low` to `high`, at most `most`: multiples of 1, 2 or 5 times a power of ten."""
    steps = (factor * round_step(low, high, most) for factor in (1, 2, 5, 10, 20))
    for step in steps:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def steps_below(scores: Histogram, low: float, high: float) -> list[int]:
    """Return the number of scores below each step of the slider, from `low` to `high`."""
    steps = round((high - low) / round_step(low, high, FEWEST_STEPS))
    below = [0]
    for number in scores.bars(low, high, steps):
        below.append(below[-1] + number)
    return below


def histogram(scores: Histogram, low: float, high: float) -> str:
    """Return the histogram as HTML. Its numbers are text of the page, so they keep their size on a small screen."""
    counts = scores.bars(low, high, BINS)
    edges = [low + index * (high - low) / BINS for index in range(BINS + 1)]
    top, step = max(1, *counts), WIDTH / BINS
    bars = "".join(
        f'<rect x="{index * step + 1:.1f}" y="{HEIGHT - HEIGHT * number / top:.1f}" width="{step - 2:.1f}" '
        f'height="{HEIGHT * number / top:.1f}" data-from="{start:.6f}" data-to="{end:.6f}">'
        f"<title>{start:.3f} to {end:.3f}: {count('face', number)}</title></rect>"
        for index, (number, start, end) in enumerate(zip(counts, edges, edges[1:], strict=False))
    )
    ticks = "".join(
        f'<span style="left:{100 * (tick - low) / (high - low):.2f}%;'
        f'transform:translateX(-{100 * (tick - low) / (high - low):.0f}%)">{tick:g}</span>'
        for tick in round_ticks(low, high)
    )
    return (
        f'<div class="plot"><span class="top">{top:,} faces in the highest bar</span>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="histogram">'
        f'{bars}</svg><b id="mark"></b></div><div class="ticks">{ticks}</div>'
    )


def card(
    rank: int, face: ScoredFace, jpeg: bytes, scores: tuple[float, float], folder: Path, texts: Mapping[str, str]
) -> str:
    """Return the card of a face.

    Args:
        rank: Place of the face among all; 1 is the best.
        face: The face; it has a score.
        jpeg: Its picture; empty where there is none.
        scores: Scores of an empty bar and of a full one.
        folder: Folder of the page: links go from there.
        texts: Text of each reason, by its code.
    """
    low, high = scores
    score = 0.0 if face.score is None else face.score
    size = "" if face.box is None else f"{min(face.box[2:]):.0f} px"
    quality = "" if face.quality is None else f"quality {face.quality}"
    which = f"face {face.face + 1} · " if face.face else ""
    parts = [path_text(face.path)]
    if face.box is not None:
        parts.append("box " + ", ".join(f"{value:.0f}" for value in face.box))
    if face.confidence is not None:
        parts.append(f"detector {face.confidence:.2f}")
    picture = f' src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"' if jpeg else ""
    reasons = "" if face.reasons is None else f' data-reasons="{" ".join(reason.code for reason in face.reasons)}"'
    why = f'<span class="why">{safe_markup(_text(face.reasons[0], texts))}</span>' if face.reasons else ""
    box = "" if face.box is None else f' data-box="{" ".join(f"{value:.1f}" for value in face.box)}"'
    return (
        f'<figure data-score="{score:.6f}" data-name="{safe_markup(path_text(face.path).lower())}" '
        f'data-row="{safe_markup(csv_text([face], end=""))}"{box}{reasons} '
        f'style="--share:{(score - low) / (high - low):.3f}" title="{safe_markup(" · ".join(parts))}">'
        f'<a href="{_link(face.path, folder)}"><img alt="open the photo" width="112" height="112"{picture}></a>'
        f"<figcaption><b>{score:.3f}</b><small>#{rank:,}</small><i></i>"
        f"<span>{' · '.join(filter(None, (quality, size)))}</span>"
        f"{why}<span>{which}{safe_markup(path_text(face.path.name))}</span></figcaption></figure>\n"
    )


def _text(reason: Reason, texts: Mapping[str, str]) -> str:
    """Return the text of a reason; that of an earlier run where its code is unknown here."""
    return texts.get(reason.code, reason.text)


def _link(path: Path, folder: Path) -> str:
    """Return the address of a photo relative to the page, so that both can be moved together."""
    try:
        relative = os.path.relpath(path, folder)
    except ValueError:  # on another drive of Windows
        return quote(Path(path).absolute().as_uri(), safe=":/%")
    return quote(os.fsencode(Path(relative).as_posix()), safe="/")
