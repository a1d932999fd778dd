"""fiqa score: every face of every image, as many as there are."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console

from sdk.commands.console import INTERRUPTED, SOME_FAILED, error_exits, print_plain, progress_bar
from sdk.commands.options import DeviceOption, ModelOption, PrecisionOption, ThreadsOption, TrustOption
from sdk.detection.face_detector import FaceDetector
from sdk.errors import FiqaError, InputError
from sdk.files import check_outputs, check_place, check_suffix
from sdk.images.decoding import MAX_BYTES, MAX_PIXELS
from sdk.images.folders import Found, find_images
from sdk.results_io.report import Run, write_page
from sdk.results_io.scoring import THREADS, ScoredFace, cut_picture, map_files, score_files
from sdk.results_io.tables import Table, check_table, csv_text
from sdk.results_io.tally import FACES, Tally
from sdk.scorer import QualityScorer
from sdk.stopping import leave, stop_signals
from sdk.text import path_text, shown

NAMED = 20
"""Files without a score that are named on stderr."""

REASONS = 10
"""Reasons that are counted there, where there are more."""

GRACE = 1.0
"""Seconds in which a Parquet table must be made after a signal."""


def score(
    paths: Annotated[
        list[str], typer.Argument(help="Image files, folders (searched to the bottom) and glob patterns.")
    ],
    model: ModelOption = "fiqa-nano",
    aligned: Annotated[
        bool, typer.Option("--aligned", help="Files are aligned 112 x 112 crops: detect nothing.")
    ] = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    precision: PrecisionOption = None,
    trust: TrustOption = False,
    detector: Annotated[
        str | None, typer.Option(help="Face detector: fiqa-detector, in the package, where left out; yunet finds more.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Table to write: .csv, .jsonl or .parquet.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the table of --out after a stop.")] = False,
    report: Annotated[Path | None, typer.Option(help="HTML page to write: .html.")] = None,
    report_faces: Annotated[int, typer.Option(min=0, help="Best faces on the page, and as many worst ones.")] = FACES,
    max_pixels: Annotated[int, typer.Option(min=1, help="Largest image, in pixels (width x height).")] = MAX_PIXELS,
    max_bytes: Annotated[int, typer.Option(min=1, help="Largest file, in bytes.")] = MAX_BYTES,
) -> None:
    """Score every face of every image; higher is better.

    Without --out and --report the scores go to stdout: a table on a terminal, else CSV. Rows are written as they come.
    Files that cannot be scored stay in the table as rows with an error; the others are scored all the same.

    After Ctrl-C, SIGTERM, SIGHUP or a crash the same command with --resume goes on. Files that are in the table, with
    a score or with an error, are not scored again. See docs/score.md.

    Exit codes: 0 every file scored; 1 an error, of the model or the device for example; 2 wrong usage, a path or an
    option; 3 some files have no score; 130 stopped, what was scored until then is kept; 141 nobody reads stdout.
    """
    with error_exits(), stop_signals(INTERRUPTED), ExitStack() as stack:
        _check_options(out, resume, report)
        found = find_images(paths)
        check_outputs({"--out": out, "--report": report}, found.files)
        table = None if out is None else stack.enter_context(Table(out, resume))
        scoring = Scoring(found, table, Tally(report_faces if report is not None else 0), resume)
        if not scoring.left and report is None:
            scoring.finish()
            raise typer.Exit(_summarise(scoring, "nothing was left to do"))
        started = time.perf_counter()
        finder = None if detector is None or aligned else FaceDetector(detector)
        scorer = stack.enter_context(
            QualityScorer(
                model, device, threads, precision=precision, trust=trust, detector=finder,
                max_pixels=max_pixels, max_bytes=max_bytes,
            )
        )  # fmt: skip
        limits = {"max_pixels": max_pixels, "max_bytes": max_bytes}
        scoring.run(scorer, aligned, report is not None, limits)
        run = Run(scorer.card, scorer.device, time.perf_counter() - started)
        if report is not None:
            write_page(report, scoring.tally, run, scoring.pictures)
        code = _summarise(scoring, f"{run.seconds:.1f} s on {run.device} with {run.card.name}", report)
        if scoring.stopped:
            scoring.close()
            leave(code, THREADS)
        raise typer.Exit(code)


def _check_options(out: Path | None, resume: bool, report: Path | None) -> None:
    """Find what is wrong with the outputs before any work."""
    if resume and out is None:
        raise InputError("--resume goes on with a table; name it by --out")
    if out is not None:
        check_table(out)
    if report is not None:
        check_place(report)
        check_suffix("--report", report, (".html", ".htm"))


class Scoring:
    """The files of a run, what becomes of them, and what earlier runs left.

    Args:
        found: All files.
        table: Where their rows go; None for stdout, or for nowhere where a page is wanted.
        tally: Adds them up.
        resume: Go on with what is in the table.

    Attributes:
        earlier: Files that were in the table already.
        left: Files that are still to be scored.
        pictures: Of faces on the page that an earlier run scored.
        stopped: Whether the user or the system ended the run.
        made: Whether the table is finished.

    Raises:
        InputError: The table that is there is none of scores.
    """

    def __init__(self, found: Found, table: Table | None, tally: Tally, resume: bool) -> None:
        self.found, self.table, self.tally = found, table, tally
        self.pictures: dict[ScoredFace, bytes] = {}
        self.stopped, self.made = False, True
        self._done: Counter[str] = Counter()
        if resume and table is not None:
            for faces in table.earlier():
                tally.add(faces)
                self._done[str(faces[0].path)] += 1
        self.earlier = tally.files
        self.left = sum(1 for _ in self._files()) if self._done else len(found.files)

    def run(self, scorer: QualityScorer, aligned: bool, pictures: bool, limits: Mapping[str, int]) -> None:
        """Score what is left, until the end or a signal.

        Args:
            scorer: With the model.
            aligned: Each file is an aligned crop.
            pictures: Make those of the page.
            limits: `max_pixels` and `max_bytes` of a file.

        Raises:
            FiqaError: The run cannot go on; what was scored is kept.
        """
        write, shown_as_rows = self._writer(pictures)
        results = score_files(scorer, self._files(), aligned=aligned, thumbnails=pictures, **limits)
        try:
            with closing(results), progress_bar("files", self.left, hidden=shown_as_rows) as advance:
                for faces in results:
                    write(faces)
                    self.tally.add(faces)
                    advance(1)
            if pictures:
                self._cut_pictures(scorer.threads, limits)
            self.finish()
        except KeyboardInterrupt:
            self.stopped = True
            self.finish(GRACE)
        except FiqaError:
            if self.table is not None and not self.table.stream and self.tally.files:
                where = path_text(self.table.rows_at)
                _say(f"what was scored is in {where}; the same command with --resume goes on", "yellow")
            raise

    def finish(self, seconds: float | None = None) -> None:
        """Finish the table, within a time."""
        self.made = self.table is None or self.table.finish(seconds)

    def close(self) -> None:
        """Close the table."""
        if self.table is not None:
            self.table.close()

    def _writer(self, page: bool) -> tuple[Callable[[Sequence[ScoredFace]], None], bool]:
        """Where rows go, and whether that is a terminal."""
        if self.table is not None:
            return self.table.add, False
        if page:
            return lambda faces: None, False
        stdout = sys.stdout  # itself: a progress bar puts another in its place
        return (_rows_printer(stdout), True) if stdout.isatty() else (_csv_printer(stdout), False)

    def _files(self) -> Iterator[Path]:
        done = self._done.copy()
        for path in self.found.files:
            name = self.table.name(path) if done and self.table is not None else ""
            if done[name]:
                done[name] -= 1
            else:
                yield path

    def _cut_pictures(self, threads: int, limits: Mapping[str, int]) -> None:
        """Make the pictures of faces that are on the page and were scored by an earlier run."""
        missing = [face for _, face in self.tally.ranked() if not face.thumbnail]
        if not missing or self.table is None:
            return
        wanted = {str(face.path) for face in missing}
        paths = {name: path for path in self.found.files if (name := self.table.name(path)) in wanted}
        faces = [face for face in missing if str(face.path) in paths]
        cut = map_files(threads, lambda face: cut_picture(paths[str(face.path)], face, **limits), faces)
        with closing(cut):
            for face, picture in zip(faces, cut, strict=True):
                self.pictures[face] = picture


def _rows_printer(stream: TextIO) -> Callable[[Sequence[ScoredFace]], None]:
    """Print rows for people. The name comes last: it may be longer than a line, and can be copied whole."""
    stream.write("   score  face  file\n")

    def show(faces: Sequence[ScoredFace]) -> None:
        for face in faces:
            if face.score is not None:
                stream.write(f"{face.score:8.4f}  {face.face:4}  {shown(path_text(face.path))}\n")
        stream.flush()

    return show


def _csv_printer(stream: TextIO) -> Callable[[Sequence[ScoredFace]], None]:
    """Print rows for programs."""
    stream.write(csv_text((), header=True, end="\n"))

    def show(faces: Sequence[ScoredFace]) -> None:
        stream.write(csv_text(faces, end="\n"))
        stream.flush()

    return show


def _summarise(scoring: Scoring, how: str, report: Path | None = None) -> int:
    """Say on stderr what has no score and what was done; returns the exit code."""
    tally, table = scoring.tally, scoring.table
    _say_failures(tally)
    for left in scoring.found.left_out:
        _say(f"not looked at: {left.count:,} x {left.kind}, the first {left.first}; {left.advice}", "yellow")
    if scoring.earlier:
        _say(f"{scoring.earlier} files were in the table already")
    _say(
        f"{tally.scores.count} faces in {tally.scored_files} of {tally.files} files; "
        f"{tally.failed} without a score; {how}"
    )
    if table is not None and not scoring.made:
        _say(f"{path_text(table.path)} is not made yet; its rows are in {path_text(table.rows_at)}", "yellow")
    elif table is not None and table.written:
        _say(f"wrote {path_text(table.path)}")
    if report is not None:
        _say(f"wrote {path_text(report)}")
    if scoring.stopped:
        goes_on = table is not None and not table.stream
        rest = "the same command with --resume goes on" if goes_on else "the other files were not looked at"
        _say(f"stopped; {rest}", "yellow")
        return INTERRUPTED
    missing = any(left.unreadable for left in scoring.found.left_out)
    return SOME_FAILED if tally.failed or missing else 0


def _say_failures(tally: Tally) -> None:
    for face in tally.failures[:NAMED]:
        _say(f"no score: {path_text(face.path)}: {face.error}", "yellow")
    if tally.failed > NAMED:
        _say(f"and {tally.failed - NAMED:,} more without a score; all of them by reason:", "yellow")
        for reason, count in tally.reasons.most_common(REASONS):
            _say(f"{count:9,} x {reason}", "yellow")


def _say(text: str, style: str = "") -> None:
    print_plain(Console(stderr=True), text, style)
