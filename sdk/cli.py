"""fiqa: score images, look after models, look at the installation."""

import csv
import dataclasses
import logging
import sys
import time
from pathlib import Path
from typing import Annotated

import cv2
import typer
from rich.console import Console
from rich.table import Column, Table

from sdk import __version__
from sdk.batch import ScoredFace, find_images, score_files
from sdk.console import FAILED, INTERRUPTED, SOME_FAILED, error_exits, print_plain, progress_bar
from sdk.doctor import examine
from sdk.models.cli import models
from sdk.report import Run, write_page
from sdk.scorer import QualityScorer
from sdk.tables import check_place, check_table, csv_rows, path_text, write_table

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
app.add_typer(models, name="models")

ModelOption = Annotated[str, typer.Option(help="Name (fiqa models list) or path of an .onnx file.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
ThreadsOption = Annotated[int | None, typer.Option(help="CPU cores to use; all where left out.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fiqa {__version__}")
        raise typer.Exit


@app.callback()
def main(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done, on stderr.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """Face image quality: how useful is an image of a face for recognising the person?"""
    # OpenCV writes notes for its developers to stderr; its errors reach the user as fiqa's.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )


@app.command()
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
    out: Annotated[Path | None, typer.Option(help="Table to write: .csv, .jsonl or .parquet.")] = None,
    report: Annotated[Path | None, typer.Option(help="HTML page to write.")] = None,
) -> None:
    """Score every face of every image; higher is better.

    Without --out and --report the scores go to stdout: a table on a terminal, else CSV. Files that cannot be scored are
    listed with the reason and stay in the table as rows with an error; the others are scored all the same.

    Exit codes: 0 every file scored; 1 an error, of the model or the device for example, and nothing done; 2 wrong
    usage, a path or an option; 3 some files have no score; 130 interrupted, what was scored until then is written.
    """
    faces: list[ScoredFace] = []
    interrupted = False
    with error_exits():
        files = find_images(paths)
        if out is not None:
            check_table(out)  # before the work, so that it is not lost
        if report is not None:
            check_place(report)
        started = time.perf_counter()
        with QualityScorer(model, device, threads) as scorer, progress_bar("files", len(files)) as advance:
            run = Run(scorer.card, scorer.device, 0)
            try:
                for found in score_files(scorer, files, aligned=aligned, thumbnails=report is not None):
                    faces += found
                    advance(1)
            except KeyboardInterrupt:
                interrupted = True
        run = dataclasses.replace(run, seconds=time.perf_counter() - started)
        if out is not None:
            write_table(out, faces)
        if report is not None:
            write_page(report, faces, run)
    if out is None and report is None:
        _show_scores(faces)
    raise typer.Exit(_summarise(faces, run, [path for path in (out, report) if path], interrupted))


def _show_scores(faces: list[ScoredFace]) -> None:
    if not sys.stdout.isatty():
        csv.writer(sys.stdout, lineterminator="\n").writerows(csv_rows(faces))
        return
    table = Table("file", "face", "score")
    for face in faces:
        if face.score is not None:
            table.add_row(path_text(face.path), str(face.face), f"{face.score:.4f}")
    Console().print(table)


def _summarise(faces: list[ScoredFace], run: Run, written: list[Path], interrupted: bool) -> int:
    """List failures and results on stderr; returns the exit code."""
    console = Console(stderr=True)
    failed = [face for face in faces if face.score is None]
    for face in failed:
        print_plain(console, f"no score: {path_text(face.path)}: {face.error}", "yellow")
    done = len(faces) - len(failed)
    files = len({face.path for face in faces})
    print_plain(
        console,
        f"{done} faces in {files - len(failed)} of {files} files; {len(failed)} without a score; "
        f"{run.seconds:.1f} s on {run.device} with {run.card.name}",
    )
    for path in written:
        print_plain(console, f"wrote {path_text(path)}")
    if interrupted:
        print_plain(console, "interrupted: the other files were not looked at", "yellow")
        return INTERRUPTED
    return SOME_FAILED if failed else 0


@app.command()
def doctor() -> None:
    """Versions, clashing packages, the cache, models, devices and what really runs on them.

    Exit code 1 when something is wrong.
    """
    findings = examine()
    table = Table(Column("", no_wrap=True), Column("found", overflow="fold"), Column("advice", overflow="fold"))
    for finding in findings:
        mark = "" if finding.good else "[red]wrong[/] "
        table.add_row(f"{mark}{finding.what}", finding.found, finding.advice)
    Console().print(table)
    if not all(finding.good for finding in findings):
        raise typer.Exit(FAILED)
