"""fiqa-export inspect: what model files are."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from sdk.commands.console import FAILED, cell, error_exits, missing_packages
from sdk.models.formats import SUFFIXES


def inspect(files: Annotated[list[Path], typer.Argument(help=f"Model files: {', '.join(SUFFIXES)}.")]) -> None:
    """Show what is in model files, side by side, and what each runtime does with them.

    Exit codes: 0 all files read; 1 a file cannot be read.
    """
    with error_exits(), missing_packages("export"):
        from export.inspection import inspect_file

        found = [inspect_file(file) for file in files]
    table = Table("", *(Column(cell(file), overflow="fold") for file in files))
    for row in dict.fromkeys(name for facts in found for name in facts):
        table.add_row(cell(row), *(cell(facts.get(row, "-")) for facts in found))
    Console().print(table)
    if any("error" in facts for facts in found):
        raise typer.Exit(FAILED)
