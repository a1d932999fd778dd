"""fiqa-export: export networks as proven files for a runtime and a device."""

import typer
from rich.console import Console

from export.cli import options
from export.cli.build import build
from export.cli.formats import formats
from export.cli.inspect import inspect
from export.cli.licence import show_licences
from export.cli.opencv import opencv
from export.cli.recognition import recognition
from export.cli.result import show_result
from export.networks import NETWORKS
from export.rules import check_settings
from export.settings import ExportSettings
from sdk.commands.console import Commands, cell, error_exits, missing_packages
from sdk.commands.options import Version
from sdk.errors import InputError

app = typer.Typer(cls=Commands, pretty_exceptions_show_locals=False)
app.command()(formats)
app.command()(inspect)
app.command()(build)
app.command()(opencv)
app.command()(recognition)


@app.callback(invoke_without_command=True)
def export(
    context: typer.Context,
    model: options.Model = None,
    weights: options.Weights = None,
    format_name: options.FormatName = "onnx",
    precision: options.Precision = "fp32",
    target: options.Target = None,
    calibration: options.Calibration = None,
    batch: options.Batch = None,
    workspace: options.Workspace = None,
    timing_cache: options.TimingCache = None,
    faces: options.Faces = None,
    evaluate: options.Evaluate = None,
    judge: options.Judge = None,
    embedding: options.Embedding = False,
    keep_going: options.KeepGoing = False,
    out: options.Out = None,
    licence: options.Licence = False,
    version: Version = False,
) -> None:
    """Export a network as a file that takes uint8 BGR images: faces, or photos for the detector.

    The file is compared with its source first, and written only if it agrees:
    fp32 within 1e-4; fp16 within 5e-3; int8 with a mean shift up to 0.01 and a
    Spearman correlation from 0.99.

    The folder gets the model, its card (.json), a report, a licence notice, for
    int8 the measured ranges, and proof.npz: with it `fiqa verify` proves the
    model on another device.

    `fiqa-export formats` shows which options go together.

    Exit codes: 0 written; 1 an error or a failed proof, nothing written;
    2 wrong usage.
    """
    if context.invoked_subcommand is not None:
        return
    if licence:
        show_licences(model)
        return
    settings = ExportSettings(
        format_name, precision, target, calibration, options.batches(batch), workspace, timing_cache, evaluate, judge,
        keep_going, embedding,
    )  # fmt: skip
    name = _check_usage(model, settings)
    with (
        error_exits(),
        Console(stderr=True).status(cell(f"exporting and verifying {name}")),
        missing_packages("export"),
    ):
        from export.pipeline import export_model

        exported = export_model(name, weights, out, faces, settings)
    show_result(exported)


def _check_usage(model: str | None, settings: ExportSettings) -> str:
    """Return the name of the network."""
    if model is None:
        raise typer.BadParameter("missing; see `fiqa-export --help`", param_hint="--model")
    if model not in NETWORKS:
        raise typer.BadParameter(f"{model!r}, wanted one of: {', '.join(NETWORKS)}", param_hint="--model")
    try:
        check_settings(settings, model)
    except InputError as error:
        raise typer.BadParameter(str(error)) from error
    return model
