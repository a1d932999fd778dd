"""Print the output of `fiqa score`: rows for people, with a bar in colour, rows for programs, and the summary."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from sdk.commands.console import INTERRUPTED, SOME_FAILED, SOME_REJECTED, say
from sdk.decision.measures import CODES
from sdk.images.folders import Found
from sdk.results_io.rows import csv_text
from sdk.results_io.scored_face import ScoredFace
from sdk.results_io.tally import Tally
from sdk.text import count, path_text, shown

if TYPE_CHECKING:
    from sdk.results_io.run import ScoreRun

BAR = 10
"""Columns of a bar."""

RED, YELLOW, GREEN = (205, 50, 50), (195, 150, 0), (40, 150, 70)
"""Colours of the lowest, the middle and the highest score: readable on dark and on light terminals."""

NAMED = 20
"""Most files without a score that are named in the summary."""

REASONS = 10
"""Most reasons that are counted there, where there are more files."""

NARROW = 80
"""Columns of a terminal below which long paths are cut; in a wider one they continue on the next line."""

_BESIDE = 28
"""Columns of a row before its path."""

_DECISION = 19
"""Columns of quality and acceptance, where they are shown."""

_REASON = 2 + max(map(len, CODES))
"""Columns of the main reason's code, where it is shown."""

_VERDICT = {True: "accepted", False: "rejected", None: ""}


def rows_printer(
    stream: TextIO, score_range: tuple[float, float], decides: bool = False, explains: bool = False
) -> Callable[[Sequence[ScoredFace]], None]:
    """Print the header of the rows, and return the function that prints the rows of one file.

    Args:
        stream: A terminal.
        score_range: Scores of an empty and of a full bar.
        decides: Show quality and acceptance, too.
        explains: Show the code of the main reason, too.
    """
    console = Console(file=stream)
    beside = _BESIDE + _DECISION * decides + _REASON * explains
    decision = f"  {'quality':7}  {'':8}" if decides else ""
    reason = f"{'reason':{_REASON}}" if explains else ""
    console.print(f"{'score':>8}{decision}  {'':{BAR}}  face  {reason}file", soft_wrap=True, highlight=False)

    def row(face: ScoredFace, score: float) -> Text:
        low, high = score_range
        share = min(max((score - low) / (high - low), 0.0), 1.0)
        bar = ("#" if console.options.ascii_only else "█") * round(BAR * share)
        path = shown(path_text(face.path))
        if console.width < NARROW:
            path = shortened_path(path, console.width - beside)
        style = colour(share, console.color_system)
        quality = "" if face.quality is None else str(face.quality)
        decision = f"  {quality:>7}  {_VERDICT[face.accepted]:8}" if decides else ""
        reason = f"{face.reasons[0].code if face.reasons else '':{_REASON}}" if explains else ""
        return Text.assemble(
            (f"{score:8.4f}", style), decision, "  ", (f"{bar:{BAR}}", style), f"  {face.face:4}  {reason}{path}"
        )

    def show(faces: Sequence[ScoredFace]) -> None:
        for face in faces:
            if face.score is not None:
                console.print(row(face, face.score), soft_wrap=True)

    return show


def csv_printer(stream: TextIO) -> Callable[[Sequence[ScoredFace]], None]:
    """Print the header of CSV, and return the function that prints the rows of one file."""
    stream.write(csv_text((), header=True, end="\n"))

    def show(faces: Sequence[ScoredFace]) -> None:
        stream.write(csv_text(faces, end="\n"))
        stream.flush()

    return show


def shortened_path(path: str, width: int) -> str:
    """Return a path with folders cut from the left, so that it fits; the name of the file is always whole."""
    if cell_len(path) <= width:
        return path
    parts = path.split(os.sep)
    shorter = [os.sep.join(["...", *parts[start:]]) for start in range(1, len(parts))] or [path]
    return next((one for one in shorter if cell_len(one) <= width), shorter[-1])


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


def summarise(run: "ScoreRun", found: Found, how: str, report: Path | None = None) -> int:
    """Say on stderr what has no score and what was done; returns the exit code."""
    tally, table = run.tally, run.table
    _say_failures(tally)
    for left in found.left_out:
        say(f"not looked at: {left.count:,} x {left.kind}, the first {left.first}; {left.advice}", "yellow")
    if run.earlier:
        say(f"{count('file', run.earlier)} {'was' if run.earlier == 1 else 'were'} in the table already")
    say(
        f"{count('face', tally.scores.count)} in {tally.scored_files} of {count('file', tally.files)}; "
        f"{tally.failed} without a score; {how}"
    )
    if tally.decided:
        say(f"{tally.rejected} of {count('face', tally.decided)} rejected")
    if table is not None and not run.made:
        say(f"{path_text(table.path)} is not made yet; its rows are in {path_text(table.rows_at)}", "yellow")
    elif table is not None and table.written:
        say(f"wrote {path_text(table.path)}")
    if report is not None:
        say(f"wrote {path_text(report)}")
    if run.stopped:
        goes_on = table is not None and not table.stream
        rest = "the same command with --resume goes on" if goes_on else "the other files were not scored"
        say(f"stopped; {rest}", "yellow")
        return INTERRUPTED
    missing = any(left.unreadable for left in found.left_out)
    if tally.failed or missing:
        return SOME_FAILED
    return SOME_REJECTED if tally.rejected else 0


def _say_failures(tally: Tally) -> None:
    for face in tally.failures[:NAMED]:
        say(f"no score: {path_text(face.path)}: {face.error}", "yellow")
    if tally.failed > NAMED:
        say(f"and {tally.failed - NAMED:,} more without a score; all of them by reason:", "yellow")
        for reason, number in tally.reasons.most_common(REASONS):
            say(f"{number:9,} x {reason}", "yellow")
