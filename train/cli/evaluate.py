"""fiqa-train evaluate, evaluate-video: measure how much quality scores help face recognition."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sdk.commands.console import error_exits, print_plain
from sdk.errors import InputError
from train.labelling.parameters import Colour, Mean, Size, Std, Weights

if TYPE_CHECKING:
    from train.evaluation.inputs import EmbeddingSource
    from train.evaluation.run import Methods

Source = Annotated[Path, typer.Argument(help="Labelled manifest, folder of images, or .bin of insightface.")]
Out = Annotated[Path, typer.Option(help="Folder to write.")]
Columns = Annotated[str, typer.Option("--methods", help="Columns to evaluate, by commas. The first is the reference.")]
Models = Annotated[str, typer.Option(help="Quality models to run and evaluate, by commas: names or ONNX files.")]
Embeddings = Annotated[Path | None, typer.Option(help="Embeddings that compare the faces (.npy, .npz, .pkl).")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "--fr", help="Instead of them, an FR model: name, ONNX file, file of torch, module:function."
    ),
]
FMR = Annotated[
    list[float] | None, typer.Option(help="False-match rate of the threshold, by default 0.001; may be repeated.")
]
Draws = Annotated[int, typer.Option(min=10, help="Draws of identities for the 95 % intervals.")]
NonMated = Annotated[int, typer.Option(min=1, help="Most non-mated pairs; drawn at random where there are more.")]
Pairs = Annotated[
    Path | None, typer.Option(help="Pairs to compare, instead of all: .csv (a,b,mated), or a pairs.txt of LFW.")
]
By = Annotated[str, typer.Option(help="Columns that name groups of people, by commas: results of each group, too.")]
People = Annotated[
    Path | None,
    typer.Option(help="Table of people that has these columns; its column 'identity', or its first one, names them."),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        help="With --by: score of the first method from which on images are accepted.",
        show_default="what turns 20 % of all images away",
    ),
]


def evaluate_command(
    source: Source,
    out: Out,
    methods: Columns = "",
    models: Models = "",
    embeddings: Embeddings = None,
    model: Model = None,
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    colour: Colour = None,
    size: Size = None,
    pairs: Pairs = None,
    sets: Annotated[str, typer.Option(help="Sets of images, by commas: clean, mixed, harsh, misaligned.")] = "clean",
    split: Annotated[
        str | None,
        typer.Option(
            help="Take only rows with this value in the column 'split'; all for every row.",
            show_default="test where there is one",
        ),
    ] = None,
    images: Annotated[str, typer.Option(help="Take only images whose name (source, else path) matches.")] = "*",
    against: Annotated[str, typer.Option(help="Compare these only with images whose name matches.")] = "",
    fmr: FMR = None,
    rates: Annotated[str, typer.Option(help="Discard rates of the pAUC, by commas.")] = "0.2,0.3",
    bootstrap: Draws = 1000,
    non_mated: NonMated = 2_000_000,
    by: By = "",
    people: People = None,
    threshold: Threshold = None,
) -> None:
    """Draw error-versus-discard curves: write tables (CSV, Markdown), plots, and the best and worst faces."""
    with error_exits():
        from train.evaluation.by_group.grouping import Grouping
        from train.evaluation.curves import EvaluationSettings
        from train.evaluation.results.tables import terminal_table
        from train.evaluation.run import Protocol, chosen_split, evaluate
        from train.evaluation.selection import Selection

        settings = EvaluationSettings(tuple(fmr or (1e-3,)), _numbers(rates), bootstrap, non_mated=non_mated)
        split = chosen_split(source, pairs, split)
        protocol = Protocol(source, pairs, tuple(sets.split(",")), split, Selection(images, against))
        columns = tuple(name for name in by.split(",") if name)
        if not columns and (people is not None or threshold is not None):
            raise InputError("--people and --threshold are for groups; name their columns by --by")
        grouping = Grouping(columns, people, threshold) if columns else None
        given = {"mean": mean, "std": std, "colour": colour, "size": size}
        judge = _source_of(embeddings, model, weights, given)
        results = evaluate(protocol, judge, _methods(methods, models), settings, out, grouping)
        Console().print(terminal_table(results))
        if grouping is not None:
            for line in (out / "groups.md").read_text(encoding="utf-8").splitlines():
                print_plain(Console(), line)
        print_plain(Console(), str(out))


def evaluate_video_command(
    source: Annotated[Path, typer.Argument(help="Labelled manifest of frames with a column 'track'.")],
    out: Out,
    methods: Columns = "",
    models: Models = "",
    embeddings: Embeddings = None,
    model: Model = None,
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    colour: Colour = None,
    size: Size = None,
    fmr: FMR = None,
    bootstrap: Draws = 1000,
    non_mated: NonMated = 2_000_000,
) -> None:
    """Measure the FNMR of each track's best frame, and that of a random frame and of the best possible choice."""
    with error_exits():
        from train.evaluation.curves import EvaluationSettings
        from train.evaluation.results.tables import video_table
        from train.evaluation.run import evaluate_video

        settings = EvaluationSettings(tuple(fmr or (1e-3,)), repetitions=bootstrap, non_mated=non_mated)
        given = {"mean": mean, "std": std, "colour": colour, "size": size}
        judge = _source_of(embeddings, model, weights, given)
        results = evaluate_video(source, judge, _methods(methods, models), settings, out)
        Console().print(video_table(results))
        print_plain(Console(), str(out))


def _source_of(
    embeddings: Path | None, model: str | None, weights: Path | None, given: dict[str, Any]
) -> "EmbeddingSource":
    from train.evaluation.inputs import EmbeddingSource, is_embeddings

    if embeddings is not None and model is None and weights is None:
        if not is_embeddings(embeddings):
            raise InputError(f"{embeddings} ends in {embeddings.suffix or 'nothing'!r}, wanted .npy, .npz or .pkl")
        return EmbeddingSource(str(embeddings))
    if embeddings is None and model is not None:
        return EmbeddingSource(
            model, weights, given={name: value for name, value in given.items() if value is not None}
        )
    raise InputError("what compares the faces is missing or given twice, wanted either --embeddings or --model")


def _methods(columns: str, models: str) -> "Methods":
    from train.evaluation.run import Methods

    return Methods(*([name for name in names.split(",") if name] for names in (columns, models)))


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{text!r} is not a list of numbers, wanted such as 0.2,0.3") from error
