"""fiqa-train fit: train a network."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

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
    embeddings: Annotated[
        Path | None,
        typer.Option(help="Embeddings of the images by that network (.npy, .npz, .pkl); AI-KD can do without."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Column of labels, or several by commas; the recipe's by default.")
    ] = None,
    tracker: Annotated[
        list[str] | None,
        typer.Option(help="What gets the losses' curves: tensorboard, wandb, mlflow; may be repeated."),
    ] = None,
    validations: Annotated[
        int | None, typer.Option(help="Validations an epoch; the recipe's by default. Several suit a short training.")
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of the images that the labels name, where it is another than theirs; AI-KD on prepared crops: "
            "folder of their source images, once for each source."
        ),
    ] = None,
    landmarks: Annotated[
        list[Path] | None,
        typer.Option(help="Landmarks in those images (.npz, .pkl, .csv, .parquet)."),
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
        given = {"trackers": tuple(tracker) if tracker else None, "validations": validations}
        changed: Any = {name: value for name, value in given.items() if value is not None}
        settings = replace(settings, training=replace(settings.training, **changed))
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


ON_SOURCES = {
    "detector": (
        "train.detector.fit:fit_detector",
        "A face detector that learns from the faces that another detector finds.",
    ),
    "reasons": (
        "train.reasons.fit:fit_reasons",
        "The network behind reasons: which damage a face has, and how strong.",
    ),
}
"""Networks that learn from the sources that a recipe names: where it is done, and what they are."""


def fit_on_sources_command(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="Name of a recipe (fiqa-detector, fiqa-reasons), or a file.")],
    data: Annotated[Path, typer.Option(help="Folder that the recipe's paths are relative to.")],
    out: Annotated[Path, typer.Option(help="Where to write.")],
) -> None:
    """Train a network on the sources that a recipe names."""
    from train.recipes import read_recipe
    from train.references import resolve

    with error_exits():
        _check_outputs(out, Path(recipe))
        fit = resolve(ON_SOURCES[context.info_name or ""][0])
        print_plain(Console(), str(fit(read_recipe(recipe), data, out)))


for _name, (_, _about) in ON_SOURCES.items():
    app.command(_name, short_help=_about, help=f"{_about} {DEVICES}")(fit_on_sources_command)
