"""fiqa-train fit: train a network."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sdk.commands.console import error_exits, print_plain
from sdk.errors import InputError
from sdk.files import check_outputs
from train.regressors import REGRESSORS

DEVICES = "For several devices start it with `accelerate launch -m train.cli`."

ANY = "regressor"
"""Command for any method that trains on labels."""

app = typer.Typer(no_args_is_help=True, help=f"Train a network. {DEVICES}")


def fit_regressor_command(
    context: typer.Context,
    recipe: Annotated[
        str, typer.Argument(help="Name of a recipe (ediffiqa-t, diffiqa-r, transfer, aikd, ...), or a file.")
    ],
    labels: Annotated[Path, typer.Option(help="Labelled manifest.")],
    backbone: Annotated[Path, typer.Option(help="Checkpoint of the FR network to start from.")],
    out: Annotated[Path, typer.Option(help="Where to write.")],
    embeddings: Annotated[Path | None, typer.Option(help="Embeddings of the same rows by that network (.npy).")] = None,
    label: Annotated[
        str | None, typer.Option(help="Column of labels, or several by commas; the recipe's by default.")
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(help="AI-KD on prepared crops: folder of their source images; once for each source."),
    ] = None,
    landmarks: Annotated[
        list[Path] | None,
        typer.Option(help="AI-KD on prepared crops: landmarks in those images (.npz, .csv, .parquet)."),
    ] = None,
) -> None:
    """Train a network on labels."""
    from train.data.sources.source import sources_of
    from train.fitting.fit_regressor import fit_regressor
    from train.fitting.regressor import FitFiles, RegressorRecipe
    from train.recipes import read_recipe

    with error_exits():
        settings = RegressorRecipe.from_recipe(read_recipe(recipe))
        if context.info_name not in (settings.name, ANY):
            command = settings.name if settings.name in REGRESSORS else ANY
            raise InputError(f"{recipe} is a recipe of {settings.name}: fiqa-train fit {command}")
        if label is not None:
            settings = replace(settings, method=replace(settings.method, label=label))
        _check_outputs(out, labels, backbone, embeddings, *(landmarks or []), Path(recipe))
        sources = sources_of(images or [], landmarks)
        written = fit_regressor(settings, FitFiles(labels, backbone, embeddings, sources), out)
        print_plain(Console(), str(written))


WRITTEN = (
    "best.safetensors", "last.safetensors", "history.json", "state.pt", "diffusion.safetensors", "losses.json",
    "photos.parquet", "weights.safetensors",
)  # fmt: skip
"""Files that a training writes into its folder."""


def _check_outputs(out: Path, *inputs: Path | None) -> None:
    """Refuse a folder in which a file that is read would be overwritten."""
    check_outputs({"--out": out, **{f"--out, {name}": out / name for name in WRITTEN}}, filter(None, inputs))


_ABOUT = {name: about for name, (_, about) in REGRESSORS.items()}
_ABOUT[ANY] = "The method that the recipe names: one of the above, or module:class of your own."
for _name, _about in _ABOUT.items():
    app.command(_name, short_help=_about, help=f"{_about} {DEVICES}")(fit_regressor_command)


_DIFFUSION = "The diffusion model of DifFIQA (IJCB 2023)."


@app.command("diffiqa", short_help=_DIFFUSION, help=f"{_DIFFUSION} {DEVICES}")
def fit_diffiqa_command(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe (diffiqa, diffiqa-small), or a file.")],
    source: Annotated[Path, typer.Argument(help="Folder of faces, or a manifest (.csv, .parquet).")],
    out: Annotated[Path, typer.Option(help="Where to write.")],
) -> None:
    """Train the diffusion model of DifFIQA."""
    from train.methods.fit_diffiqa import diffusion_settings, fit_diffiqa
    from train.recipes import read_recipe

    with error_exits():
        _check_outputs(out, source, Path(recipe))
        written = fit_diffiqa(diffusion_settings(read_recipe(recipe)), source, out)
        print_plain(Console(), str(written))


_DETECTOR = "A face detector that learns from the faces that another detector finds."


@app.command("detector", short_help=_DETECTOR, help=f"{_DETECTOR} {DEVICES}")
def fit_detector_command(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe (fiqa-detector), or a file.")],
    data: Annotated[Path, typer.Option(help="Folder that the recipe's paths are relative to.")],
    out: Annotated[Path, typer.Option(help="Where to write.")],
) -> None:
    """Train a face detector."""
    from train.detector.fit import fit_detector
    from train.recipes import read_recipe

    with error_exits():
        _check_outputs(out, Path(recipe))
        print_plain(Console(), str(fit_detector(read_recipe(recipe), data, out)))


_REASONS = "The network behind reasons: which damage a face has, and how strong."


@app.command("reasons", short_help=_REASONS, help=f"{_REASONS} {DEVICES}")
def fit_reasons_command(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe (fiqa-reasons), or a file.")],
    data: Annotated[Path, typer.Option(help="Folder that the recipe's paths are relative to.")],
    out: Annotated[Path, typer.Option(help="Where to write.")],
) -> None:
    """Train the network behind reasons."""
    from train.reasons.fit import fit_reasons
    from train.recipes import read_recipe

    with error_exits():
        _check_outputs(out, Path(recipe))
        print_plain(Console(), str(fit_reasons(read_recipe(recipe), data, out)))
