"""fiqa-train label: a column of quality labels a method."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from sdk.commands.console import SOME_FAILED, error_exits, print_plain
from sdk.files import check_outputs, check_suffix

if TYPE_CHECKING:
    from train.labelling.runner import Labeller

app = typer.Typer(no_args_is_help=True, help="Label images with a method; adds a column to their manifest.")

Source = Annotated[Path, typer.Argument(help="Folder of images, or a manifest (.csv, .parquet).")]
Out = Annotated[Path, typer.Option(help="Where to write.")]
Embeddings = Annotated[Path | None, typer.Option(help="Write the FR embeddings here (.npy).")]
Batch = Annotated[int, typer.Option(min=1, help="Faces a batch.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Callers = Annotated[int | None, typer.Option(min=1, help="Threads, or Ray's processes; one a core, 2 on a GPU.")]
EngineName = Annotated[str, typer.Option("--engine", help="plain, or ray: Ray Data on the cluster of RAY_ADDRESS.")]
Network = Annotated[str, typer.Option(help="FR model: a network's name, or module:function.")]
Weights = Annotated[Path | None, typer.Option(help="Its checkpoint.")]
Mean = Annotated[tuple[float, float, float] | None, typer.Option(help="Its mean, RGB in [0, 1].")]
Std = Annotated[tuple[float, float, float] | None, typer.Option(help="Its deviation.")]


@app.command("faceqan")
def label_faceqan(
    source: Source,
    out: Out,
    model: Network = "mobilefacenet128",
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
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
    engine: EngineName = "plain",
) -> None:
    """FaceQAN (ICPR 2022); needs a face-recognition model."""
    from train.methods.faceqan import FaceQANSettings
    from train.methods.label_faceqan import LabelFaceQAN, run_faceqan

    with error_exits():
        clip = (0.0, 1.0) if clip_to_image else (-1.0, 1.0)
        options = LabelFaceQAN(
            settings=FaceQANSettings(epsilon, iterations, k, p, clip), model=model, mean=mean, std=std, seed=seed,
            bf16=bf16, batch=batch, device=device, callers=callers, engine=engine,
        )  # fmt: skip
        _check_outputs(out, embeddings, source, weights)
        _report(out, run_faceqan(source, out, options, weights, embeddings))


@app.command("diffiqa")
def label_diffiqa(
    source: Source,
    out: Out,
    diffusion: Annotated[Path, typer.Option(help="Diffusion model: of `fit diffiqa`, or the published checkpoint.")],
    model: Network = "mobilefacenet128",
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    t: Annotated[int, typer.Option("-t", "--t", help="Step that faces are noised to, 1 to 99.")] = 5,
    n: Annotated[int, typer.Option("-n", "--n", help="Noisy copies of each face and of its flip.")] = 10,
    seed: int = 0,
    precision: Annotated[str, typer.Option(help="Of the diffusion model: no, bf16 or fp16.")] = "no",
    embeddings: Embeddings = None,
    device: Device = "auto",
    callers: Callers = None,
    engine: EngineName = "plain",
) -> None:
    """DifFIQA (IJCB 2023); needs a diffusion model and a face-recognition model."""
    from train.methods.diffiqa import DifFIQASettings
    from train.methods.label_diffiqa import LabelDifFIQA, run_diffiqa

    with error_exits():
        options = LabelDifFIQA(
            settings=DifFIQASettings(t, n), model=model, mean=mean, std=std, seed=seed,
            precision=precision, device=device, callers=callers, engine=engine,
        )  # fmt: skip
        _check_outputs(out, embeddings, source, weights, diffusion)
        _report(out, run_diffiqa(source, out, diffusion, options, weights, embeddings))


@app.command("sharpness")
def label_sharpness(source: Source, out: Out, callers: Callers = None, engine: EngineName = "plain") -> None:
    """Variance of the Laplacian."""
    from train.methods.baselines import Sharpness

    with error_exits():
        _label_with_peer(source, out, Sharpness(), engine, callers)


@app.command("detector")
def label_detector(
    source: Source, out: Out, model: str = "yunet", callers: Callers = None, engine: EngineName = "plain"
) -> None:
    """Confidence of the face detector."""
    from train.methods.baselines import DetectorConfidence

    with error_exits():
        check_outputs({"--out": out}, [Path(model)])
        _label_with_peer(source, out, DetectorConfidence(model), engine, callers)


@app.command("lightqnet")
def label_lightqnet(
    source: Source,
    out: Out,
    weights: Annotated[Path, typer.Option(help="lightqnet-dm100.pb")],
    engine: EngineName = "plain",
) -> None:
    """LightQNet (SPL 2021)."""
    from train.methods.baselines import LightQNet

    with error_exits():
        check_outputs({"--out": out}, [weights])
        _label_with_peer(source, out, LightQNet(weights), engine, _alone(engine))


@app.command("model")
def label_model(
    source: Source,
    out: Out,
    model: Annotated[str, typer.Option(help="Name or ONNX file.")],
    name: Annotated[str | None, typer.Option(help="Of the column; the name in the model's card by default.")] = None,
    engine: EngineName = "plain",
) -> None:
    """A quality model of the SDK."""
    from train.methods.baselines import Model

    with error_exits():
        check_outputs({"--out": out}, [Path(model)])
        _label_with_peer(source, out, Model(model, name), engine, _alone(engine))


@app.command("optimise")
def label_optimise(
    labels: Annotated[Path, typer.Argument(help="Labelled manifest.")],
    label: Annotated[str, typer.Option(help="Column to optimise, or several by commas, whose ranks are averaged.")],
    embeddings: Annotated[Path, typer.Option(help="Embeddings of the same rows (.npy).")],
    out: Out,
    name: Annotated[str | None, typer.Option(help="Of the new column; <label>-optimised by default.")] = None,
    epsilon: Annotated[float, typer.Option(help="Step towards the ranks of mated similarities.")] = 0.001,
    iterations: Annotated[int, typer.Option(help="Draws of pairs that are averaged.")] = 10,
    clusters: Annotated[int, typer.Option(help="Of each person's images.")] = 20,
    seed: int = 0,
) -> None:
    """Label optimisation (IWBF 2023): a method's labels, improved by similarities between images of a person."""
    from train.methods.label_optimisation import OptimisationSettings
    from train.methods.optimise_labels import optimise_manifest

    with error_exits():
        check_outputs({"--out": out}, [labels, embeddings])
        settings = OptimisationSettings(epsilon, iterations, clusters, seed)
        table = optimise_manifest(labels, label, embeddings, out, settings, name)
        column = table.column(table.num_columns - 1)
        labels_made = len(column) - column.null_count
        print_plain(Console(), f"{out}: {labels_made} labels optimised, {column.null_count} rows without one")


def _alone(engine: str) -> int | None:
    """Callers of a labeller that uses all cores itself, or that no two threads may call."""
    return 1 if engine == "plain" else None


def _check_outputs(out: Path, embeddings: Path | None, *inputs: Path | None) -> None:
    if embeddings is not None:
        check_suffix("--embeddings", embeddings, (".npy",))
    check_outputs({"--out": out, "--embeddings": embeddings}, filter(None, inputs))


def _label_with_peer(source: Path, out: Path, labeller: "Labeller", engine: str, callers: int | None) -> None:
    from train.data.manifest import read_manifest
    from train.labelling.executors import open_engine
    from train.labelling.runner import label_manifest

    check_outputs({"--out": out}, [source])
    manifest = read_manifest(source)
    with open_engine(engine, callers) as opened:
        table = label_manifest(manifest, labeller, out, {}, engine=opened)
    _report(out, table["error"].to_pylist())


def _report(out: Path, errors: list[str]) -> None:
    report(out, len(errors), sum(bool(error) for error in errors), "labelled")


def report(out: Path, images: int, failed: int, done: str) -> None:
    """Say how many images were done, and exit with `SOME_FAILED` where not all were."""
    print_plain(Console(), f"{out}: {images - failed} {done}, {failed} failed")
    if failed:
        raise typer.Exit(SOME_FAILED)
