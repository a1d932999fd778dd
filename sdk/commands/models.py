"""fiqa models: list, show, fetch and verify."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from sdk.commands.console import FAILED, Download, cell, error_exits, print_plain
from sdk.errors import FiqaError
from sdk.models.catalog import catalog, find_entry
from sdk.models.loading import is_path, load_model
from sdk.models.store import fetch_model, locate_model

models = typer.Typer(no_args_is_help=True, help="List, show, fetch and verify models.")


@models.command("list")
def list_models() -> None:
    """All models that fiqa knows by name, and whether they are on this machine."""
    table = Table(Column("name", no_wrap=True), "for", "on this machine", "licence", "summary")
    damaged = False
    for name, entry in catalog().items():
        try:
            state = "yes" if locate_model(name) else "no"
        except FiqaError:
            state, damaged = "damaged: fiqa models verify", True
        table.add_row(*map(cell, (name, entry.card.task, state, entry.card.licence, entry.card.summary)))
    Console().print(table)
    if damaged:
        raise typer.Exit(FAILED)


@models.command()
def show(
    model: Annotated[str, typer.Argument(help="Name or path of an .onnx, .xml or .engine file.")],
    as_json: Annotated[bool, typer.Option("--json", help="As one line of JSON.")] = False,
) -> None:
    """A model's card: the file's own where it is on this machine, else the catalogue's."""
    with error_exits():
        at_hand = is_path(model) or locate_model(model) is not None
        card = load_model(model).card if at_hand else find_entry(model).card
    if as_json:
        typer.echo(card.to_json())
        return
    table = Table(Column(no_wrap=True), Column(overflow="fold"), show_header=False)
    for key, value in card.to_dict().items():
        text = json.dumps(value) if isinstance(value, (dict, tuple, list)) else str(value)
        table.add_row(cell(key), cell(text))
    Console().print(table)


@models.command()
def fetch(names: Annotated[list[str], typer.Argument(help="Names in the catalogue.")]) -> None:
    """Download models into the cache, their hashes checked; a model that is on this machine is not fetched again."""
    with error_exits():
        for name in names:
            find_entry(name)
        for name in names:
            with Download(name) as progress:
                path = fetch_model(name, progress)
            print_plain(Console(), f"{name}: {path}")


@models.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names or model files; all on this machine if left out.")
    ] = None,
) -> None:
    """Check hashes and forms of model files. Exit code 1 when one is wrong or, being named, is not there."""
    console = Console()
    wrong = False
    for name in names or catalog():
        try:
            if not is_path(name) and locate_model(name) is None:
                state = "not on this machine"
                wrong |= bool(names)
            else:
                state = f"good: {load_model(name).path}"
        except FiqaError as error:
            state, wrong = f"WRONG: {error}", True
        print_plain(console, f"{name}: {state}")
    if wrong:
        raise typer.Exit(FAILED)
