"""fiqa-export: from weights to a proven folder for a runtime and a device."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from export.engines.build import build
from export.settings import KINDS, ExportSettings, check_settings
from export.targets import targets
from sdk.commands.console import FAILED, Commands, cell, error_exits, print_plain
from sdk.errors import InputError, ModelError
from sdk.proof.bench import numbers

if TYPE_CHECKING:
    from export.pipeline import Exported

app = typer.Typer(cls=Commands, add_completion=False, pretty_exceptions_show_locals=False)

_LINEAR = ("mobilefacenet128", "mobilefacenet", "iresnet18", "iresnet50", "iresnet100")
DETECTOR = "fiqa-detector"
MODELS = (
    "fiqa-nano",
    *(f"ediffiqa-{size}" for size in "tsml"),
    *(f"{backbone}-linear" for backbone in _LINEAR),
    DETECTOR,
)


def _known(name: str | None) -> str | None:
    if name is not None and name not in MODELS:
        raise typer.BadParameter(f"{name!r}, wanted one of: {', '.join(MODELS)}")
    return name


@app.callback(invoke_without_command=True)
def export(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(callback=_known, help=f"The network: {', '.join(MODELS)}.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help=".pth, .safetensors or .onnx, published or exported; left out, the published file."),
    ] = None,
    style: Annotated[str, typer.Option("--format", help=f"{', '.join(KINDS)}.")] = "onnx",
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8 or int8+fp16.")] = "fp32",
    target: Annotated[str | None, typer.Option(help=f"The device: {', '.join(targets())}.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="For int8: folder of aligned 112 x 112 crops; left out, a packaged face.")
    ] = None,
    batch: Annotated[str | None, typer.Option(help="For engines: batches to run in; left out, 1,8,32.")] = None,
    workspace: Annotated[int | None, typer.Option(min=1, help="For engines: most scratch memory, in MiB.")] = None,
    timing_cache: Annotated[Path | None, typer.Option(help="For tensorrt: file that speeds up the next build.")] = None,
    faces: Annotated[
        Path | None, typer.Option(help="Folder of aligned 112 x 112 crops to verify on; left out, packaged ones.")
    ] = None,
    evaluate: Annotated[
        Path | None, typer.Option(help="Manifest or folder of people: measures the change of pAUC.")
    ] = None,
    judge: Annotated[str | None, typer.Option(help="Embeddings for --evaluate: .npy, .npz, or an FR model.")] = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Write a file that fails its proof, too, marked unproven.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder to write; left out, one of the model's name.")] = None,
) -> None:
    """Export a quality network: uint8 BGR NHWC faces in, scores out, proven against its source before it is written.

    Into the folder go the model, its card (.json), a verification report, a calibration summary, a licence notice and
    proof.npz, with which `fiqa verify` proves it on another device. Largest difference allowed: fp32 1e-4, fp16 5e-3;
    int8: mean shift 0.01, Spearman 0.99. `fiqa-export formats` shows what goes with what.

    Exit codes: 0 written; 1 an error or a failed proof, nothing written; 2 wrong usage.
    """
    if context.invoked_subcommand is not None:
        return
    if model is None:
        raise typer.BadParameter("missing; see `fiqa-export --help`", param_hint="--model")
    try:
        settings = ExportSettings(
            style, precision, target, calibration, tuple(numbers(batch, "--batch")) if batch else None, workspace,
            timing_cache, evaluate, judge, keep_going,
        )  # fmt: skip
        check_settings(settings)
    except InputError as error:
        raise typer.BadParameter(str(error)) from error
    if model == DETECTOR:
        _export_detector(weights, settings, out)
        return
    with error_exits(), Console(stderr=True).status(cell(f"exporting and verifying {model}")):
        try:
            from export.pipeline import export_model
        except ModuleNotFoundError as error:
            raise _missing(error) from error
        exported = export_model(model, weights, out, faces, settings)
    _show(exported)


def _missing(error: ModuleNotFoundError) -> ModelError:
    return ModelError(f"{error.name} is not installed; pip install 'fiqa[export]'")


def _show(exported: "Exported") -> None:
    console = Console()
    if exported.agreements:
        title = f"{exported.path}, {exported.faces} faces"
        table = Table("runtime and batch", "largest difference", "mean", "shift", "Spearman", title=cell(title))
        for place, found in exported.agreements.items():
            figures = (f"{found.largest:.1e}", f"{found.mean:.1e}", f"{found.shift:+.1e}", f"{found.spearman:.5f}")
            table.add_row(cell(place), *figures)
        console.print(table)
    if exported.change is not None:
        change = exported.change
        print_plain(console, f"{change.errors} of {change.comparisons} mated comparisons fail (FMR 0.001)")
        for name, before in change.before.items():
            print_plain(console, f"{name}: {before:.4f} before, {change.after[name]:.4f} after")
    print_plain(console, f"{exported.path}: {exported.size:,} bytes, SHA-256 {exported.sha256}")
    print_plain(console, f"report: {exported.report}")
    for failure in exported.failures:
        print_plain(console, f"NOT PROVEN: {failure}", "red")
    for note in exported.notes:
        print_plain(console, f"note: {note}", "yellow")


def _export_detector(weights: Path | None, settings: ExportSettings, out: Path | None) -> None:
    if weights is None:
        raise typer.BadParameter("the detector comes with the package, exported already; give --weights FILE")
    if settings != ExportSettings():
        raise typer.BadParameter(f"{DETECTOR} is exported as fp32 ONNX only; leave the other options out")
    with error_exits(), Console(stderr=True).status(f"exporting and verifying {DETECTOR}"):
        try:
            from export.detector import export_detector
        except ModuleNotFoundError as error:
            raise _missing(error) from error
        print_plain(Console(), str(export_detector(weights, out or Path(DETECTOR))))


@app.command()
def formats() -> None:
    """What can be exported: formats and targets, with their precisions and options."""
    console = Console()
    table = Table("--format", "--precision", "also takes", "writes", Column("runs in", overflow="fold"))
    for name, kind in KINDS.items():
        options = ", ".join(f"--{option}" for option in kind.options)
        table.add_row(name, ", ".join(kind.precisions), options, kind.files, kind.runs)
    console.print(table)
    table = Table("--target", Column("device", overflow="fold"), "--format", "--precision")
    for target in targets().values():
        gpu = f" (compute capability {', '.join(target.architectures)})" if target.architectures else ""
        table.add_row(target.name, target.summary + gpu, ", ".join(target.formats), ", ".join(target.precisions))
    console.print(table)
    for target in targets().values():
        if target.notes:
            print_plain(console, f"{target.name}: {target.notes}")
    print_plain(console, "--calibration is for int8 and int8+fp16. All take --faces, --evaluate, --judge, --out.")


@app.command()
def inspect(files: Annotated[list[Path], typer.Argument(help="Model files: .onnx, .xml, .engine.")]) -> None:
    """What is in model files, side by side, and what each runtime will do with them.

    Exit codes: 0 all read; 1 a file cannot be read.
    """
    with error_exits():
        try:
            from export.inspection import inspect_file
        except ModuleNotFoundError as error:
            raise _missing(error) from error
        found = [inspect_file(file) for file in files]
    table = Table("", *(Column(cell(file), overflow="fold") for file in files))
    for row in dict.fromkeys(name for facts in found for name in facts):
        table.add_row(cell(row), *(cell(facts.get(row, "")) for facts in found))
    Console().print(table)
    if any("error" in facts for facts in found):
        raise typer.Exit(FAILED)


app.command()(build)
