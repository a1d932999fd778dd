"""fiqa-export recognition: a face-recognition model that gives quality, too."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from export.cli import options
from export.cli.result import show_result
from sdk.commands.console import cell, error_exits, missing_packages
from train.labelling.parameters import Colour, Mean, Size, Std, Weights

Recognition = Annotated[str, typer.Argument(help="FR model: name, ONNX file, or module:function of yours.")]
Layers = Annotated[
    Path | None,
    typer.Option(help="Layers that `fiqa-train label froq` has chosen (.json). Default: the length of the embedding."),
]


def recognition(
    model: Recognition,
    layers: Layers = None,
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    colour: Colour = None,
    size: Size = None,
    faces: options.Faces = None,
    out: options.Out = None,
) -> None:
    """Export a face-recognition model with embedding and quality from one pass.

    The file is ONNX in fp32 with the outputs `quality` and `embedding`. fiqa scores with it; `fiqa calibrate` and
    fiqa-train embed with it.

    Exit codes: 0 written; 1 an error or a failed proof, nothing written; 2 wrong usage.
    """
    with (
        error_exits(),
        Console(stderr=True).status(cell(f"exporting and verifying {model}")),
        missing_packages("export"),
    ):
        from export.pipeline import export_recognition
        from export.tasks.recognition import FaceRecognition

        given = {"mean": mean, "std": std, "colour": colour, "size": size}
        known = {name: value for name, value in given.items() if value is not None}
        exported = export_recognition(FaceRecognition(model, weights, layers, known), out, faces)
    show_result(exported)
