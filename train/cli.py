"""fiqa-train: prepare | label | fit | evaluate | recipe.

Exit codes: 0 done; 1 an error; 2 wrong usage or input; 3 done, but some images could not be labelled.
"""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from sdk.console import SOME_FAILED, error_exits

if TYPE_CHECKING:
    from train.methods.labelling import Labeller

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
label_app = typer.Typer(no_args_is_help=True, help="Label images with a method; adds a column to their manifest.")
fit_app = typer.Typer(no_args_is_help=True, help="Train a network on labels.")
app.add_typer(label_app, name="label")
app.add_typer(fit_app, name="fit")

Source = Annotated[Path, typer.Argument(help="Folder of images, or a manifest (.csv, .parquet).")]
Out = Annotated[Path, typer.Option(help="Where to write.")]
Embeddings = Annotated[Path | None, typer.Option(help="Write the FR embeddings here (.npy).")]
Batch = Annotated[int, typer.Option(min=1, help="Faces a batch.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Callers = Annotated[int | None, typer.Option(min=1, help="Labelling threads; one a core on a CPU, 2 on a GPU.")]


@app.callback()
def main(verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False) -> None:
    """Set logging up."""
    handler = RichHandler(console=Console(stderr=True), show_path=False)
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, format="%(message)s", handlers=[handler])
    for name in ("matplotlib", "PIL", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


@app.command("prepare")
def prepare_command(
    source: Annotated[Path, typer.Argument(help="Folder, manifest, or a .tar of a folder of images.")],
    out: Out,
    landmarks: Annotated[Path | None, typer.Option(help=".npz with names and landmarks (N, 5, 2).")] = None,
    copies: Annotated[int, typer.Option(min=0, help="Damaged copies of each training image.")] = 3,
    test: Annotated[float, typer.Option(help="Share of the people with several images kept for the test.")] = 0.4,
    validation: Annotated[float, typer.Option(help="Share of the people kept for validation.")] = 0.05,
    seed: int = 0,
) -> None:
    """Align faces, make graded damaged copies, and split them by person."""
    from train.data.prepare import PrepareSettings, prepare

    with error_exits():
        settings = PrepareSettings(copies=copies, test=test, validation=validation, seed=seed)
        typer.echo(prepare(source, out, settings, landmarks))


@label_app.command("faceqan")
def label_faceqan(
    source: Source,
    out: Out,
    model: Annotated[str, typer.Option(help="FR model: a network's name, or module:function.")] = "mobilefacenet128",
    weights: Annotated[Path | None, typer.Option(help="Its checkpoint.")] = None,
    mean: Annotated[tuple[float, float, float] | None, typer.Option(help="Its mean, RGB in [0, 1].")] = None,
    std: Annotated[tuple[float, float, float] | None, typer.Option(help="Its deviation.")] = None,
    k: Annotated[int, typer.Option(min=1, help="Adversarial copies of each face.")] = 10,
    iterations: Annotated[int, typer.Option("--iterations", "-l", min=1, help="Steps of the attack.")] = 5,
    epsilon: Annotated[float, typer.Option(help="Size of the noise, pixels in [0, 1].")] = 0.001,
    p: Annotated[float, typer.Option(help="Exponent of the score.")] = 5.0,
    clip_to_image: Annotated[bool, typer.Option(help="Clip noisy images to [0, 1], not [-1, 1].")] = False,
    seed: int = 0,
    bf16: Annotated[bool, typer.Option(help="Run the network in bfloat16.")] = False,
    embeddings: Embeddings = None,
    batch: Batch = 16,
    device: Device = "auto",
    callers: Callers = None,
) -> None:
    """FaceQAN (ICPR 2022); needs a face-recognition model."""
    from train.methods.faceqan import FaceQANSettings
    from train.methods.label_faceqan import LabelFaceQAN, run_faceqan

    with error_exits():
        clip = (0.0, 1.0) if clip_to_image else (-1.0, 1.0)
        options = LabelFaceQAN(
            settings=FaceQANSettings(epsilon, iterations, k, p, clip), model=model, mean=mean, std=std, seed=seed,
            bf16=bf16, batch=batch, device=device, callers=callers,
        )  # fmt: skip
        _report(out, run_faceqan(source, out, options, weights, embeddings))


@label_app.command("sharpness")
def label_sharpness(source: Source, out: Out, callers: Callers = None) -> None:
    """Variance of the Laplacian."""
    from train.methods.peers import Sharpness

    with error_exits():
        _label_with_peer(source, out, Sharpness(), callers)


@label_app.command("detector")
def label_detector(source: Source, out: Out, model: str = "yunet", callers: Callers = None) -> None:
    """Confidence of the face detector."""
    from train.methods.peers import DetectorConfidence

    with error_exits():
        _label_with_peer(source, out, DetectorConfidence(model), callers)


@label_app.command("lightqnet")
def label_lightqnet(
    source: Source, out: Out, weights: Annotated[Path, typer.Option(help="lightqnet-dm100.pb")]
) -> None:
    """LightQNet (SPL 2021)."""
    from train.methods.peers import LightQNet

    with error_exits():
        _label_with_peer(source, out, LightQNet(weights), 1)


@label_app.command("model")
def label_model(source: Source, out: Out, model: Annotated[str, typer.Option(help="Name or ONNX file.")]) -> None:
    """A quality model of the SDK."""
    from train.methods.peers import Model

    with error_exits():
        _label_with_peer(source, out, Model(model), 1)


@fit_app.command("ediffiqa")
def fit_ediffiqa_command(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe (ediffiqa-t, -s, -m, -l, fiqa-nano), or a file.")],
    labels: Annotated[Path, typer.Option(help="Labelled manifest.")],
    embeddings: Annotated[Path, typer.Option(help="Embeddings of the same rows (.npy).")],
    backbone: Annotated[Path, typer.Option(help="Checkpoint of the FR network to start from.")],
    out: Out,
) -> None:
    """EDifFIQA (TBIOM 2024); start it with `accelerate launch` for several devices."""
    from train.methods.fit_ediffiqa import EDifFIQARecipe, fit_ediffiqa
    from train.recipes import read_recipe

    with error_exits():
        settings = EDifFIQARecipe.from_recipe(read_recipe(recipe))
        typer.echo(fit_ediffiqa(settings, labels, embeddings, backbone, out))


@app.command("evaluate")
def evaluate_command(
    labels: Annotated[Path, typer.Argument(help="Labelled manifest.")],
    embeddings: Annotated[Path, typer.Option(help="Embeddings of the same rows (.npy): the FR model that judges.")],
    methods: Annotated[str, typer.Option(help="Columns to compare, by commas; the first is the reference.")],
    out: Out,
    sets: Annotated[str, typer.Option(help="clean, mixed and harsh, by commas.")] = "clean",
    split: Annotated[str | None, typer.Option(help="Only rows with this value of the column 'split'.")] = None,
    fmr: Annotated[float, typer.Option(help="False-match rate that fixes the threshold.")] = 1e-3,
    rates: Annotated[str, typer.Option(help="Discard rates, by commas.")] = "0.2,0.3",
    bootstrap: Annotated[int, typer.Option(min=10, help="Draws of identities.")] = 1000,
) -> None:
    """Error-versus-discard curves: table (terminal, CSV, Markdown), plots, and the best and worst faces."""
    from train.evaluation.output import terminal_table
    from train.evaluation.protocol import EvaluationSettings
    from train.evaluation.run import evaluate

    with error_exits():
        settings = EvaluationSettings(fmr, _numbers(rates), bootstrap)
        results = evaluate(labels, embeddings, methods.split(","), sets.split(","), split, settings, out)
        Console().print(terminal_table(results))
        typer.echo(out)


@app.command("recipe")
def recipe_command(
    name: Annotated[str, typer.Argument(help="Recipe with a section for every stage, such as fiqa-nano.")],
    data: Annotated[Path, typer.Option(help="Folder that the recipe's paths are relative to.")],
    out: Out,
) -> None:
    """A whole recipe: prepare, label, fit, export and evaluate; finished stages are not done again."""
    from train.pipeline import run_recipe
    from train.recipes import read_recipe

    with error_exits():
        typer.echo(run_recipe(read_recipe(name), data, out))


def _label_with_peer(source: Path, out: Path, labeller: "Labeller", callers: int | None) -> None:
    from train.data.manifest import read_manifest
    from train.methods.labelling import label_manifest

    table = label_manifest(read_manifest(source), labeller, out, {}, callers=callers or os.cpu_count() or 1)
    _report(out, table["error"].to_pylist())


def _report(out: Path, errors: list[str]) -> None:
    failed = sum(bool(error) for error in errors)
    typer.echo(f"{out}: {len(errors) - failed} labelled, {failed} failed")
    if failed:
        raise typer.Exit(SOME_FAILED)


def _numbers(text: str) -> tuple[float, ...]:
    from sdk.errors import InputError

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{text!r} is not a list of numbers, wanted such as 0.2,0.3") from error
