"""fiqa-train fit: train a network."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sdk.console import error_exits

app = typer.Typer(no_args_is_help=True, help="Train a network.")


@app.command("regressor")
def fit_regressor_command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (ediffiqa-t, diffiqa-r, transfer, aikd), or a file.")],
    labels: Annotated[Path, typer.Option(help="Labelled manifest.")],
    backbone: Annotated[Path, typer.Option(help="Checkpoint of the FR network to start from.")],
    out: Annotated[Path, typer.Option(help="Where to write.")],
    embeddings: Annotated[Path | None, typer.Option(help="That network's embeddings of the same rows (.npy).")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the labels, instead of the recipe's.")] = None,
    images: Annotated[Path | None, typer.Option(help="AI-KD on prepared crops: their source images.")] = None,
    landmarks: Annotated[Path | None, typer.Option(help="AI-KD on prepared crops: landmarks in those (.npz).")] = None,
) -> None:
    """eDifFIQA, DifFIQA(R), transfer learning or AI-KD, as the recipe says; `accelerate launch` for several devices."""
    from train.methods.fit_regressor import FitFiles, RegressorRecipe, fit_regressor
    from train.recipes import read_recipe

    with error_exits():
        settings = RegressorRecipe.from_recipe(read_recipe(recipe))
        if label is not None:
            settings = replace(settings, method=replace(settings.method, label=label))
        typer.echo(fit_regressor(settings, FitFiles(labels, backbone, embeddings, images, landmarks), out))
