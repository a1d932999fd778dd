"""fiqa bench: measure model files on this machine."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Column, Table

from sdk.commands.console import cell, error_exits, print_plain, progress_bar
from sdk.commands.options import FacesOption, TrustOption, complete_model
from sdk.errors import InputError
from sdk.files import check_outputs, make_folder
from sdk.models.loading import load_model
from sdk.runtimes.registry import DEVICES
from sdk.scorer import available_cores

if TYPE_CHECKING:
    from sdk.models.card import ModelCard
    from sdk.proof.bench import Measured
    from sdk.proof.bench_process import Configuration

Files = Annotated[
    list[str],
    typer.Argument(metavar="MODEL...", help="Model files, or names of the catalogue.", autocompletion=complete_model),
]
Devices = Annotated[list[str] | None, typer.Option(help="Device to measure on; may be repeated.", show_default="cpu")]
Bf16 = Annotated[bool, typer.Option("--bf16", help="Measure fp32 files on openvino in bf16, too.")]
Batch = Annotated[str, typer.Option(help="Faces in a call, separated by commas.")]
Threads = Annotated[
    str, typer.Option(help="Threads that call at once, separated by commas.", show_default="1 and all cores")
]
Rounds = Annotated[int, typer.Option(min=1, help="Measurements of each configuration.")]
Seconds = Annotated[float, typer.Option(min=0.01, help="Seconds of each measurement.")]
Out = Annotated[Path | None, typer.Option(help="Folder for bench.csv and bench.svg.")]


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """The options of `fiqa bench`; see its help."""

    files: list[str]
    devices: list[str]
    bf16: bool
    batch: str
    threads: str
    faces: Path | None
    rounds: int
    seconds: float
    trust: bool
    out: Path | None

    def configurations(self) -> "list[Configuration]":
        """Return what is to be measured: every file on every device that runs it, in every size.

        Raises:
            InputError: No file runs on the devices, or a size is no number.
            ModelError: A file cannot be loaded.
        """
        from sdk.proof.bench import numbers
        from sdk.proof.bench_process import Configuration

        batches = numbers(self.batch, "--batch")
        callers = numbers(self.threads, "--threads") if self.threads else sorted({1, available_cores()})
        cards = {name: load_model(name, task="quality", trust=self.trust).card for name in dict.fromkeys(self.files)}
        found = [
            Configuration(name, device, precision, size, count)
            for name, card in cards.items()
            for device in self._devices_for(card)
            for precision in self._precisions_for(card, device)
            for size in batches
            for count in callers
        ]
        if not found:
            raise InputError(f"no file runs on {', '.join(self.devices)}; see docs/runtimes.md for what runs where")
        return found

    def _devices_for(self, card: "ModelCard") -> list[str]:
        """Devices that run a file. An OpenVINO file runs on cpu and openvino alike, so one of them will do."""
        wanted = self.devices or ["cpu" if card.format == "onnx" else "auto"]
        if card.format == "openvino" and "openvino" in wanted:
            wanted = ["openvino"]
        return [device for device in wanted if device.partition(":")[0] in DEVICES.get(card.format, ())]

    def _precisions_for(self, card: "ModelCard", device: str) -> list[str | None]:
        return [None, "bf16"] if self.bf16 and device == "openvino" and card.precision == "fp32" else [None]


def bench(
    files: Files,
    device: Devices = None,
    bf16: Bf16 = False,
    batch: Batch = "1,8",
    threads: Threads = "",
    faces: FacesOption = None,
    rounds: Rounds = 7,
    seconds: Seconds = 0.3,
    trust: TrustOption = False,
    out: Out = None,
) -> None:
    """Measure model files on this machine, and recommend the fastest one whose scores are right.

    Each file, device, batch and number of threads is measured in a process of its own. Scores are compared with those
    of the fp32 file of the same network, so give that file, too. Without --faces only fp32 can be recommended: scores
    of noise prove nothing.
    """
    settings = BenchSettings(files, device or [], bf16, batch, threads, faces, rounds, seconds, trust, out)
    with error_exits():
        measured = _measure(settings)
    _show(measured)
    _recommend(measured)
    if out is not None:
        print_plain(Console(), f"wrote {out / 'bench.csv'}, {out / 'bench.svg'}")


def _measure(settings: BenchSettings) -> "list[Measured]":
    from sdk.proof.bench import measure
    from sdk.proof.bench_files import write_csv, write_plot
    from sdk.proof.verify import read_faces

    configurations, out = settings.configurations(), settings.out
    if out is not None:
        make_folder(out)
        written = {f"--out {name}": out / name for name in ("bench.csv", "bench.svg")}
        check_outputs(written, map(Path, settings.files))
    faces = read_faces(settings.faces) if settings.faces is not None else _noise()
    with progress_bar("rounds", len(configurations) * (settings.rounds + 1)) as advance:
        measured = measure(
            configurations, faces, rounds=settings.rounds, seconds=settings.seconds,
            are_faces=settings.faces is not None, trust=settings.trust, advance=advance,
        )  # fmt: skip
    if out is not None:
        write_csv(out / "bench.csv", measured)
        write_plot(out / "bench.svg", measured)
    return measured


def _noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (16, 112, 112, 3), np.uint8)


def _show(measured: "Sequence[Measured]") -> None:
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


def _recommend(measured: "Sequence[Measured]") -> None:
    from sdk.proof.recommendation import recommend

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
