"""fiqa score: score every face of many images."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdk.commands.console import INTERRUPTED, error_exits, progress_bar, say
from sdk.commands.options import (
    AcceptOption,
    CalibrationOption,
    DetectorOption,
    DeviceOption,
    ModelOption,
    PrecisionOption,
    ReasonsFileOption,
    ReasonsOption,
    ThreadsOption,
    ThresholdOption,
    TrustOption,
    accepted_from,
)
from sdk.commands.score_output import csv_printer, rows_printer, summarise
from sdk.errors import FiqaError, InputError
from sdk.files import check_outputs, check_place, check_suffix
from sdk.images.folders import find_images
from sdk.results_io.report import Origin, write_page
from sdk.results_io.scored_face import ScoredFace
from sdk.results_io.table import Table, check_table
from sdk.results_io.tally import FACES, Tally
from sdk.scorer import QualityScorer
from sdk.stopping import leave, stoppable
from sdk.text import path_text

if TYPE_CHECKING:
    from sdk.results_io.run import ScoreRun

Paths = Annotated[list[str], typer.Argument(help="Image files, folders with all their sub-folders, glob patterns.")]
Aligned = Annotated[
    bool, typer.Option("--aligned", help="Take each file as an aligned 112 x 112 face; detect nothing.")
]
Out = Annotated[Path | None, typer.Option(help="Table to write: .csv, .jsonl or .parquet.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the table of --out that an earlier run began.")]
Report = Annotated[Path | None, typer.Option(help="HTML page to write, with the best and the worst faces.")]
ReportFaces = Annotated[
    int, typer.Option(min=0, help="Number of best faces on the page. It shows as many of the worst.")
]
MaxPixels = Annotated[
    int | None, typer.Option(min=1, help="Largest image, in pixels (width x height).", show_default="64 million")
]
MaxBytes = Annotated[int | None, typer.Option(min=1, help="Largest file, in bytes.", show_default="64 MiB")]


@dataclass(frozen=True, slots=True)
class ScoreSettings:
    """The options of `fiqa score`; see its help."""

    paths: list[str]
    model: str
    device: str
    threads: int | None
    precision: str | None
    trust: bool
    threshold: float | None
    accept: str | None
    calibration: Path | None
    reasons: bool
    reasons_file: Path | None
    aligned: bool
    detector: str | None
    out: Path | None
    resume: bool
    report: Path | None
    report_faces: int
    max_pixels: int | None
    max_bytes: int | None

    def check(self) -> None:
        """Find what is wrong with the outputs before any work.

        Raises:
            InputError: They cannot be written, or do not go together.
        """
        accepted_from(self.threshold, self.accept)
        if self.resume and self.out is None:
            raise InputError("--resume goes on with a table; name it by --out")
        if self.out is not None:
            check_table(self.out)
        if self.report is not None:
            check_place(self.report)
            check_suffix("--report", self.report, (".html", ".htm"))

    def open_scorer(self) -> QualityScorer:
        """Open the model."""
        from sdk.detection.face_detector import FaceDetector

        detector = None if self.detector is None or self.aligned else FaceDetector(self.detector)
        return QualityScorer(
            self.model, self.device, self.threads, precision=self.precision, trust=self.trust, detector=detector,
            calibration=self.calibration, accept=accepted_from(self.threshold, self.accept),
            reasons=self.reasons if self.reasons_file is None else self.reasons_file, max_pixels=self.max_pixels,
            max_bytes=self.max_bytes,
        )  # fmt: skip


def score(
    paths: Paths,
    model: ModelOption = "fiqa-nano",
    aligned: Aligned = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    precision: PrecisionOption = None,
    trust: TrustOption = False,
    detector: DetectorOption = None,
    threshold: ThresholdOption = None,
    accept: AcceptOption = None,
    calibration: CalibrationOption = None,
    reasons: ReasonsOption = False,
    reasons_file: ReasonsFileOption = None,
    out: Out = None,
    resume: Resume = False,
    report: Report = None,
    report_faces: ReportFaces = FACES,
    max_pixels: MaxPixels = None,
    max_bytes: MaxBytes = None,
) -> None:
    """Score every face of every image; higher is better.

    Without --out and --report the scores go to stdout: as rows for people on a terminal, as CSV elsewhere. A file that
    cannot be scored becomes a row with an error; the others are scored all the same.

    Ctrl-C, SIGTERM and SIGHUP stop a run, and its rows are kept. The same command with --resume goes on, also after a
    crash. It scores no file again that the table holds, with a score or with an error.

    Exit codes: 0 every file has a score; 1 an error, such as an unknown model; 2 a wrong path or option; 3 some files
    have no score; 4 all have one, and some faces are rejected; 130 stopped; 141 the program that read stdout has ended.
    """
    settings = ScoreSettings(
        paths, model, device, threads, precision, trust, threshold, accept, calibration, reasons,
        reasons_file, aligned, detector, out, resume, report, report_faces, max_pixels, max_bytes,
    )  # fmt: skip
    with error_exits(), stoppable("stopped", code=INTERRUPTED, patience=None):
        raise typer.Exit(_run(settings))


def _run(settings: ScoreSettings) -> int:
    """Score, write, and say what was done; returns the exit code."""
    from sdk.results_io.run import ScoreRun
    from sdk.results_io.scoring import THREADS

    settings.check()
    found = find_images(settings.paths)
    check_outputs({"--out": settings.out, "--report": settings.report}, found.files)
    with ExitStack() as stack:
        table = None if settings.out is None else stack.enter_context(Table(settings.out, settings.resume))
        tally = Tally(settings.report_faces if settings.report is not None else 0)
        run = ScoreRun(found.files, table, tally, settings.resume)
        started = time.perf_counter()
        scorer = stack.enter_context(settings.open_scorer())
        run.decisions.check(scorer)
        if not run.left and settings.report is None:
            run.finish()
            return summarise(run, found, "nothing was left to do")
        with _output(run, scorer, settings) as tell, _kept_rows(run):
            run.score(scorer, tell, aligned=settings.aligned, pictures=settings.report is not None)
        seconds = time.perf_counter() - started
        if settings.report is not None:
            texts = {} if scorer.measurer is None else {"texts": scorer.measurer.texts}
            origin = Origin(scorer.card, scorer.device, seconds, scorer.threshold, **texts)
            write_page(settings.report, tally, origin, run.pictures)
        how = f"{seconds:.1f} s on {scorer.device} with {scorer.card.name}"
        code = summarise(run, found, how, settings.report)
        if run.stopped:
            run.close()
            leave(code, THREADS)
        return code


@contextmanager
def _output(
    run: "ScoreRun", scorer: QualityScorer, settings: ScoreSettings
) -> Iterator[Callable[[Sequence[ScoredFace]], None]]:
    """Give the function that is told of the rows of each file: it prints them, or moves a bar."""
    prints = settings.out is None and settings.report is None
    stdout = sys.stdout  # itself: a progress bar puts another in its place
    if prints and stdout.isatty():
        decides = scorer.calibration is not None or scorer.threshold is not None
        yield rows_printer(stdout, scorer.card.score_range, decides, scorer.measurer is not None)
        return
    show = csv_printer(stdout) if prints else None
    with progress_bar("files", run.left) as advance:

        def tell(faces: Sequence[ScoredFace]) -> None:
            if show is not None:
                show(faces)
            advance(1)

        yield tell


@contextmanager
def _kept_rows(run: "ScoreRun") -> Iterator[None]:
    """Say where the rows are when a run fails."""
    try:
        yield
    except FiqaError:
        if run.table is not None and not run.table.stream and run.tally.files:
            where = path_text(run.table.rows_at)
            say(f"what was scored is in {where}; the same command with --resume goes on", "yellow")
        raise
