"""What a person sees on a terminal: rows of scores with a bar in colour, and paths that fit into the line."""

import os
from collections.abc import Callable, Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from sdk.results_io.scored_face import ScoredFace
from sdk.text import path_text, shown

BAR = 10
"""Columns of a bar."""

RED, YELLOW, GREEN = (205, 50, 50), (195, 150, 0), (40, 150, 70)
"""Colours of the lowest, the middle and the highest score: readable on dark and on light terminals."""

_BESIDE = 28
"""Columns of a row before its path."""


def rows_printer(stream: TextIO, score_range: tuple[float, float]) -> Callable[[Sequence[ScoredFace]], None]:
    """Print the header of the rows, and return the function that prints the rows of one file.

    Args:
        stream: A terminal.
        score_range: Scores of an empty and of a full bar.
    """
    console = Console(file=stream)
    console.print(f"{'score':>8}  {'':{BAR}}  face  file", soft_wrap=True, highlight=False)

    def show(faces: Sequence[ScoredFace]) -> None:
        for face in faces:
            if face.score is not None:
                console.print(_row(face, face.score, score_range, console), soft_wrap=True)

    return show


def shortened_path(path: str, width: int) -> str:
    """Return a path with folders cut from the left, so that it fits; the name of the file is always whole."""
    if cell_len(path) <= width:
        return path
    parts = path.split(os.sep)
    while len(parts) > 1:
        parts = parts[1:]
        short = os.sep.join(["...", *parts])
        if cell_len(short) <= width or len(parts) == 1:
            return short
    return path


def colour(share: float, colour_system: str | None = "truecolor") -> str:
    """Return the style of a share in [0, 1] from red over yellow to green.

    Args:
        share: 0 is red, 0.5 yellow, 1 green.
        colour_system: See `rich.console.Console.color_system`; one of few colours gets the nearest of the three.
    """
    if colour_system not in ("256", "truecolor"):
        return ("red", "yellow", "green")[min(int(3 * share), 2)]
    low, high, place = (RED, YELLOW, 2 * share) if share < 0.5 else (YELLOW, GREEN, 2 * share - 1)
    return "rgb({},{},{})".format(*(round(a + (b - a) * place) for a, b in zip(low, high, strict=True)))


def _row(face: ScoredFace, score: float, score_range: tuple[float, float], console: Console) -> Text:
    low, high = score_range
    share = min(max((score - low) / (high - low), 0.0), 1.0)
    bar = ("#" if console.options.ascii_only else "█") * round(BAR * share)
    path = shortened_path(shown(path_text(face.path)), console.width - _BESIDE)
    style = colour(share, console.color_system)
    return Text.assemble((f"{score:8.4f}", style), "  ", (f"{bar:{BAR}}", style), f"  {face.face:4}  {path}")
