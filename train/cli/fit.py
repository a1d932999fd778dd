"""fiqa-train fit: train a network."""

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
) -> None:
    """EDifFIQA (TBIOM 2024); start it with `accelerate launch` for several devices."""
    from train.methods.fit_ediffiqa import EDifFIQARecipe, fit_ediffiqa
    from train.recipes import read_recipe

    with error_exits():
        settings = EDifFIQARecipe.from_recipe(read_recipe(recipe))
        typer.echo(fit_ediffiqa(settings, labels, embeddings, backbone, out))


@app.command("diffiqa")
def fit_diffiqa_command(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe (diffiqa, diffiqa-small), or a file.")],
    source: Annotated[Path, typer.Argument(help="Folder of faces, or a manifest (.csv, .parquet).")],
    out: Annotated[Path, typer.Option(help="Where to write.")],
) -> None:
    """The diffusion model of DifFIQA (IJCB 2023); start it with `accelerate launch` for several devices."""
    from train.methods.fit_diffiqa import diffusion_settings, fit_diffiqa
    from train.recipes import read_recipe

    with error_exits():
        typer.echo(fit_diffiqa(diffusion_settings(read_recipe(recipe)), source, out))
