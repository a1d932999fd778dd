"""fiqa-train fit: train a network."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sdk.console import error_exits

app = typer.Typer(no_args_is_help=True, help="Train a network on labels.")


@app.command("ediffiqa")
def fit_ediffiqa_command(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe (ediffiqa-t, -s, -m, -l, fiqa-nano), or a file.")],
    labels: Annotated[Path, typer.Option(help="Labelled manifest.")],
    embeddings: Annotated[Path, typer.Option(help="Embeddings of the same rows (.npy).")],
    backbone: Annotated[Path, typer.Option(help="Checkpoint of the FR network to start from.")],
    out: Annotated[Path, typer.Option(help="Where to write.")],
    label: Annotated[str | None, typer.Option(help="Instead of the recipe's: a column, or several by commas.")] = None,
) -> None:
    """EDifFIQA (TBIOM 2024); start it with `accelerate launch` for several devices."""
    from train.methods.fit_ediffiqa import EDifFIQARecipe, fit_ediffiqa
    from train.recipes import read_recipe

    with error_exits():
        settings = EDifFIQARecipe.from_recipe(read_recipe(recipe))
        if label is not None:
            settings = replace(settings, method=replace(settings.method, label=label))
        typer.echo(fit_ediffiqa(settings, labels, embeddings, backbone, out))
