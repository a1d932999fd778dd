"""fiqa: score images, look after models, look at the installation."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Column, Table

from sdk import __version__
from sdk.commands.console import FAILED, Commands, PlainFormatter, cell, error_exits, print_plain, progress_bar
from sdk.commands.doctor import examine
from sdk.commands.models import models
from sdk.commands.options import DeviceOption, PrecisionOption, TrustOption
from sdk.commands.score import score
from sdk.commands.video import video
from sdk.errors import InputError
from sdk.files import check_outputs, make_folder
from sdk.models.loading import load_model
from sdk.proof.bench import Configuration, Measured, measure, numbers, recommend, write_csv, write_plot
from sdk.proof.verify import prove, read_faces, record_proof
from sdk.runtimes.registry import DEVICES
from sdk.scorer import available_cores

app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
app.add_typer(models, name="models")
app.command()(score)
app.command()(video)


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
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])


@app.command()
def verify(
    file: Annotated[str, typer.Argument(help="Model file to prove on this device.")],
    against: Annotated[Path | None, typer.Option(help="Its source in fp32, an .onnx file.")] = None,
    faces: Annotated[Path | None, typer.Option(help="Folder of aligned 112 x 112 crops, good and bad.")] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = None,
    trust: TrustOption = False,
) -> None:
    """Prove a model file on this device: run it in its runtime and compare its scores with its source's.

    Faces and reference scores come from proof.npz beside the file unless --faces and --against are given. Allowed are,
    for fp32, differences up to 1e-4; for fp16 up to 5e-3; for int8 and bf16, alone or mixed, a mean shift up to 0.01
    and a Spearman correlation from 0.99. The card of an engine that was unproven is marked proven.

    Exit codes: 0 proven; 1 not, or an error; 2 wrong usage.
    """
    with error_exits():
        proof = prove(file, against, faces, device=device, precision=precision, trust=trust)
        recorded = record_proof(Path(file), proof)
    found = proof.agreement
    console = Console()
    print_plain(console, f"{file}: {proof.precision} on {proof.device}, {found.count} faces against {proof.reference}")
    print_plain(
        console,
        f"largest difference {found.largest:.2e}, mean {found.mean:.2e}, shift {found.shift:+.2e}, "
        f"Spearman {found.spearman:.5f}",
    )
    for failure in proof.failures:
        print_plain(console, f"NOT PROVEN: {failure}", "red")
    if proof.failures:
        raise typer.Exit(FAILED)
    print_plain(console, "proven" + (f"; written into {recorded}" if recorded else ""))


@app.command()
def bench(
    files: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Model files, and names of the catalogue.")],
    device: Annotated[list[str] | None, typer.Option(help="Devices; cpu where left out.")] = None,
    bf16: Annotated[bool, typer.Option("--bf16", help="Measure fp32 files on openvino in bf16, too.")] = False,
    batch: Annotated[str, typer.Option(help="Faces a call.")] = "1,8",
    threads: Annotated[str, typer.Option(help="Callers at once; 1 and all cores where left out.")] = "",
    faces: Annotated[Path | None, typer.Option(help="Folder of aligned 112 x 112 crops, good and bad.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 7,
    seconds: Annotated[float, typer.Option(min=0.01, help="How long, each time.")] = 0.3,
    trust: TrustOption = False,
    out: Annotated[Path | None, typer.Option(help="Folder for bench.csv and bench.svg.")] = None,
) -> None:
    """Measure files on this machine, each configuration in a process of its own, and recommend one.

    Files of one network are compared with its fp32 file, so give that, too. Without --faces only fp32 can be
    recommended: scores of noise prove nothing.
    """
    with error_exits():
        batches = numbers(batch, "--batch")
        callers = numbers(threads, "--threads") if threads else sorted({1, available_cores()})
        cards = {name: load_model(name, trust=trust).card for name in dict.fromkeys(files)}
        wanted = [
            (name, kind, precision)
            for name, card in cards.items()
            for kind in (device or ["auto" if card.format != "onnx" else "cpu"])
            if kind.partition(":")[0] in DEVICES.get(card.format, ())
            and not (card.format == "openvino" and kind != "openvino" and "openvino" in (device or []))
            for precision in ([None, "bf16"] if bf16 and kind == "openvino" and card.precision == "fp32" else [None])
        ]
        plan = [Configuration(*one, size, count) for one in wanted for size in batches for count in callers]
        if not plan:
            raise InputError(f"no file runs on {', '.join(device or [])}; see docs/runtimes.md for what runs where")
        if out is not None:
            make_folder(out)
            written = {f"--out {name}": out / name for name in ("bench.csv", "bench.svg")}
            check_outputs(written, map(Path, files))
        crops = read_faces(faces) if faces is not None else _noise()
        with progress_bar("rounds", len(plan) * (rounds + 1)) as advance:
            measured = measure(
                plan, crops, rounds=rounds, seconds=seconds, real=faces is not None, trust=trust, advance=advance
            )
        if out is not None:
            write_csv(out / "bench.csv", measured)
            write_plot(out / "bench.svg", measured)
    _show_bench(measured)
    console = Console()
    for network in dict.fromkeys(row.network for row in measured):
        found = recommend(measured, network)
        if found is None:
            print_plain(console, f"{network}: nothing can be recommended: no configuration scored as fp32 does")
        else:
            best, why = found
            print_plain(
                console,
                f"{network}: take {best.model} on {best.device} in {best.precision}, batch {best.batch}, "
                f"{best.threads} threads: {why}",
            )
    if out is not None:
        print_plain(console, f"wrote {out / 'bench.csv'}, {out / 'bench.svg'}")


def _noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (16, 112, 112, 3), np.uint8)


def _show_bench(measured: list[Measured]) -> None:
    columns = "model precision device batch threads MB p50 p95 p99 faces/s x_fp32 RSS_MB largest Spearman"
    table = Table(*columns.split(), Column("not good", overflow="fold"))
    for row in measured:
        figures = (
            f"{row.size / 1e6:.1f}", *(_figure(value, ".2f") for value in (row.p50, row.p95, row.p99)),
            _figure(row.faces_per_second, ".0f"), _figure(row.ratio, ".2f"),
            _figure(row.memory and row.memory / 1e6, ".0f"), _figure(row.largest, ".1e"), _figure(row.spearman, ".4f"),
        )  # fmt: skip
        name = Path(row.model).name
        cells = (name, row.precision, row.device, row.batch, row.threads, *figures, row.failure)
        table.add_row(*map(cell, cells))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _figure(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)


@app.command()
def doctor() -> None:
    """Versions, clashing packages, the cache, models, devices and what really runs on them.

    Exit code 1 when something is wrong.
    """
    findings = examine()
    table = Table(Column("", no_wrap=True), Column("found", overflow="fold"), Column("advice", overflow="fold"))
    for finding in findings:
        what = cell(finding.what) if finding.good else cell("wrong ", "red") + cell(finding.what)
        table.add_row(what, cell(finding.found), cell(finding.advice))
    Console().print(table)
    if not all(finding.good for finding in findings):
        raise typer.Exit(FAILED)
