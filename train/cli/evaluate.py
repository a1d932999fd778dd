"""fiqa-train evaluate: error-versus-discard curves."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sdk.console import error_exits


def evaluate_command(
    labels: Annotated[Path, typer.Argument(help="Labelled manifest.")],
    embeddings: Annotated[Path, typer.Option(help="Embeddings of the same rows (.npy): the FR model that judges.")],
    methods: Annotated[str, typer.Option(help="Columns to compare, by commas; the first is the reference.")],
    out: Annotated[Path, typer.Option(help="Where to write.")],
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


def _numbers(text: str) -> tuple[float, ...]:
    from sdk.errors import InputError

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{text!r} is not a list of numbers, wanted such as 0.2,0.3") from error
