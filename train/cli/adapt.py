"""fiqa-train adapt: a quality model for your photos and your face-recognition model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from sdk.commands.console import cell, error_exits, missing_packages, print_plain
from sdk.files import check_outputs
from train.labelling.parameters import Colour, Mean, Size, Std, Weights

if TYPE_CHECKING:
    from train.pipeline.plan import Stage


def adapt_command(
    photos: Annotated[
        list[Path],
        typer.Argument(metavar="PHOTOS...", help="Folder with a folder a person, manifest (.csv, .parquet), or .tar."),
    ],
    fr: Annotated[
        str, typer.Option(help="Your FR model: ONNX file, name, file of torch, or module:function of your own.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; started again, the run goes on there.")],
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    colour: Colour = None,
    size: Size = None,
    landmarks: Annotated[
        list[Path] | None, typer.Option(help="Landmarks of the photos: .npz, .pkl, .csv, .parquet. Once a source.")
    ] = None,
    detector: Annotated[
        str, typer.Option(help="Detector for photos without landmarks: name in the catalogue, or model file.")
    ] = "fiqa-detector",
    faceqan: Annotated[
        bool, typer.Option("--faceqan", help="Also label with FaceQAN: slower; needs gradients.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Show the plan with estimated times, and end.")] = False,
) -> None:
    """Make a quality model for your photos and your face-recognition model: prepare, label, train, evaluate, export.

    The plan comes first. At the end RUN/report.html says whether the new model beats fiqa-nano for your model,
    RUN/model has its ONNX file, RUN/calibration.json its thresholds.
    """
    with error_exits(), missing_packages("export"):
        from train.data.sources.source import sources_of
        from train.networks.recognition import is_file
        from train.pipeline.adapt import Adaptation, adapt, given_input
        from train.pipeline.report import HEADS, commands, licence_note
        from train.pipeline.teacher import Teacher

        sources = sources_of(photos, landmarks)
        model = str(Path(fr).absolute()) if is_file(fr) and ":" not in fr else fr
        given = given_input(mean=mean, std=std, colour=colour, size=size)
        teacher = Teacher(model, weights, given)
        check_outputs({"--out": out}, [*teacher.files, *(file for source in sources for file in source.files)])
        outcome = adapt(Adaptation(sources, teacher, faceqan, detector), out, _show_plan, plan)
        if outcome is None:
            return
        console, table = Console(), Table(*HEADS)
        for verdict in outcome.verdicts:
            table.add_row(*map(cell, verdict.figures()))
        console.print(table)
        if isinstance(outcome.calibration, str):
            print_plain(console, f"no calibration: {outcome.calibration}", "yellow")
        print_plain(console, licence_note(teacher), "yellow")
        print_plain(console, f"{outcome.seconds / 60:.0f} minutes; {out / 'report.html'}")
        print_plain(console, commands(outcome))


def _show_plan(stages: "Sequence[Stage]") -> None:
    table = Table("stage", "work", "estimated", title="plan")
    for stage in stages:
        table.add_row(stage.name, cell(stage.what), _time(stage.seconds) if stage.seconds else "done")
    table.add_row("", "", _time(sum(stage.seconds for stage in stages)))
    Console().print(table)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
