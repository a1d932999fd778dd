"""fiqa-train evaluate, evaluate-video: what quality scores are worth to face recognition."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from sdk.commands.console import error_exits, print_plain

if TYPE_CHECKING:
    from train.evaluation.inputs import EmbeddingSource
    from train.evaluation.run import Methods

Source = Annotated[Path, typer.Argument(help="Labelled manifest, folder of images, or insightface's .bin.")]
Out = Annotated[Path, typer.Option(help="Where to write.")]
Columns = Annotated[str, typer.Option("--methods", help="Columns to compare, by commas; the first is the reference.")]
Models = Annotated[str, typer.Option(help="Quality models to run and compare, by commas: names or ONNX files.")]
Embeddings = Annotated[Path | None, typer.Option(help="Embeddings of the FR model that judges (.npy, .npz).")]
Model = Annotated[str | None, typer.Option(help="Or that model itself: a network's name, or module:function.")]
Weights = Annotated[Path | None, typer.Option(help="Its checkpoint.")]
FMR = Annotated[list[float] | None, typer.Option(help="False-match rate that fixes the threshold; may be repeated.")]
Draws = Annotated[int, typer.Option(min=10, help="Draws of identities for the intervals.")]
NonMated = Annotated[int, typer.Option(min=1, help="Non-mated comparisons to draw; all where there are fewer.")]


def evaluate_command(
    source: Source,
    out: Out,
    methods: Columns = "",
    models: Models = "",
    embeddings: Embeddings = None,
    model: Model = None,
    weights: Weights = None,
    pairs: Annotated[Path | None, typer.Option(help="Comparisons: .csv (a,b,mated), or LFW's pairs.txt.")] = None,
    sets: Annotated[str, typer.Option(help="clean, mixed, harsh and misaligned, by commas.")] = "clean",
    split: Annotated[str | None, typer.Option(help="Only rows with this value of the column 'split'.")] = None,
    fmr: FMR = None,
    rates: Annotated[str, typer.Option(help="Discard rates, by commas.")] = "0.2,0.3",
    bootstrap: Draws = 1000,
    non_mated: NonMated = 2_000_000,
) -> None:
    """Error-versus-discard curves: table (terminal, CSV, Markdown), plots, and the best and worst faces."""
    with error_exits():
        from train.evaluation.curves import EvaluationSettings
        from train.evaluation.output import terminal_table
        from train.evaluation.run import Protocol, evaluate

        settings = EvaluationSettings(tuple(fmr or (1e-3,)), _numbers(rates), bootstrap, non_mated=non_mated)
        protocol = Protocol(source, pairs, tuple(sets.split(",")), split)
        results = evaluate(protocol, _judge(embeddings, model, weights), _methods(methods, models), settings, out)
        Console().print(terminal_table(results))
        print_plain(Console(), str(out))


def evaluate_video_command(
    source: Annotated[Path, typer.Argument(help="Labelled manifest of frames with a column 'track'.")],
    out: Out,
    methods: Columns = "",
    models: Models = "",
    embeddings: Embeddings = None,
    model: Model = None,
    weights: Weights = None,
    fmr: FMR = None,
    bootstrap: Draws = 1000,
    non_mated: NonMated = 2_000_000,
) -> None:
    """FNMR when the frame of the highest quality stands for its track, against a random frame and the oracle."""
    with error_exits():
        from train.evaluation.curves import EvaluationSettings
        from train.evaluation.output import video_table
        from train.evaluation.run import evaluate_video

        settings = EvaluationSettings(tuple(fmr or (1e-3,)), repetitions=bootstrap, non_mated=non_mated)
        results = evaluate_video(source, _judge(embeddings, model, weights), _methods(methods, models), settings, out)
        Console().print(video_table(results))
        print_plain(Console(), str(out))


def _judge(embeddings: Path | None, model: str | None, weights: Path | None) -> "EmbeddingSource":
    from sdk.errors import InputError
    from train.evaluation.inputs import EmbeddingSource

    if embeddings is not None and model is None and weights is None:
        if embeddings.suffix.lower() not in (".npy", ".npz"):
            raise InputError(f"{embeddings} ends in {embeddings.suffix or 'nothing'!r}, wanted .npy or .npz")
        return EmbeddingSource(str(embeddings))
    if embeddings is None and model is not None:
        return EmbeddingSource(model, weights)
    raise InputError("the model that judges is given as --embeddings, or as --model with --weights: wanted one of them")


def _methods(columns: str, models: str) -> "Methods":
    from train.evaluation.run import Methods

    return Methods(*([name for name in names.split(",") if name] for names in (columns, models)))


def _numbers(text: str) -> tuple[float, ...]:
    from sdk.errors import InputError

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{text!r} is not a list of numbers, wanted such as 0.2,0.3") from error
