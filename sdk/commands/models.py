"""fiqa models: list, show, fetch and verify."""

import json
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Column, Table

from sdk.commands.console import FAILED, Download, cell, error_exits, print_plain, say
from sdk.commands.options import complete_model, complete_name
from sdk.errors import FiqaError
from sdk.models.catalog import CatalogEntry, catalog, find_entry
from sdk.models.loading import is_path, load_model
from sdk.models.store import fetch_model, locate_model, terms

models = typer.Typer(no_args_is_help=True, help="List, show, fetch and verify models.")

LICENCE_WIDTH = 28
"""Columns of a licence in the list; `fiqa models show` has the whole text."""

Model = Annotated[
    str,
    typer.Argument(
        help="Name from `fiqa models list`, or path of an .onnx, .xml or .engine file.", autocompletion=complete_model
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as one line of JSON.")]
Names = Annotated[list[str], typer.Argument(help="Names from `fiqa models list`.", autocompletion=complete_name)]
NamesOrFiles = Annotated[
    list[str] | None,
    typer.Argument(help="Names or model files.", show_default="all on this machine", autocompletion=complete_model),
]


@models.command("list")
def list_models() -> None:
    """List the models that fiqa knows by name, one per line.

    A file is embedded in the package, cached on this machine, or to fetch. `fiqa models show NAME` says more, such as
    the whole licence. Exit code 1 when a file on this machine is damaged.
    """
    columns = (Column(name, no_wrap=name != "licence") for name in ("name", "task", "size", "file", "licence"))
    table = Table(*columns, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    damaged = []
    for name, entry in catalog().items():
        try:
            path = locate_model(name)
        except FiqaError:
            damaged.append(name)
            table.add_row(cell(name), entry.card.task, "", cell("damaged", "red"), _licence(entry))
            continue
        table.add_row(cell(name), entry.card.task, _size(entry, path), _place(entry, path), _licence(entry))
    Console().print(table)
    if damaged:
        say(f"damaged: {', '.join(damaged)}; `fiqa models verify` says why", "yellow")
        raise typer.Exit(FAILED)


def _size(entry: CatalogEntry, path: Path | None) -> str:
    size = path.stat().st_size if path else entry.size
    return f"{size / 1e6:.1f} MB" if size else ""


def _place(entry: CatalogEntry, path: Path | None) -> str:
    if path is None:
        return "to fetch"
    return "embedded" if path == entry.embedded else "cached"


def _licence(entry: CatalogEntry) -> str:
    """Return the short name of a licence, or the first words of a text that has none."""
    return textwrap.shorten(entry.card.licence.removeprefix("Weights: "), LICENCE_WIDTH, placeholder=" ...")


@models.command()
def show(model: Model, as_json: AsJson = False) -> None:
    """Show what is known of a model: its card, its file, its addresses, and the terms of its use.

    The card is that of its file where it is on this machine, else that of the catalogue. What does not apply to a model
    is left out.
    """
    with error_exits():
        facts = _facts(model)
    if as_json:
        typer.echo(json.dumps(facts, sort_keys=True))
        return
    table = Table(Column(no_wrap=True), Column(overflow="fold"), show_header=False)
    for key, value in facts.items():
        text = json.dumps(value) if isinstance(value, (dict, tuple, list)) else str(value)
        table.add_row(cell(key), cell(text))
    Console().print(table)


def _facts(model: str) -> dict[str, Any]:
    """Return the fields of a model's card, of its file, and of the catalogue, without those that do not apply."""
    entry = None if is_path(model) else find_entry(model)
    loaded = load_model(model) if entry is None or locate_model(model) is not None else None
    card = loaded.card if loaded is not None else find_entry(model).card
    facts = card.to_dict()
    if entry is not None:
        facts |= {key: getattr(entry, key) for key in ("file", "size", "sha256", "urls", "alternatives")}
        facts |= {key: getattr(entry, key) for key in ("ship", "ship_reason")}
    if loaded is not None:
        size = len(loaded.data) + len(loaded.weights)
        facts |= {"file": loaded.path.name, "size": size, "sha256": loaded.sha256, "path": str(loaded.path)}
    if not is_path(facts["file"]):  # a format that only fiqa-train reads
        del facts["format"], facts["precision"]
    if card.task != "quality":
        del facts["score_range"]
    if card.proven and not card.verification:  # nobody compared it with its source
        del facts["proven"]
    return {key: value for key, value in facts.items() if value not in ("", None) and value != {} and value != ()}


@models.command()
def fetch(names: Names) -> None:
    """Download models into the cache and check their SHA-256. A model that is on this machine is not fetched again."""
    with error_exits():
        for name in names:
            find_entry(name)
        for name in names:
            if find_entry(name).ship == "no" and locate_model(name) is not None:
                say(terms(name), "yellow")  # before a download, the store says them
            with Download(name) as progress:
                path = fetch_model(name, progress)
            print_plain(Console(), f"{name}: {path}")


@models.command()
def verify(names: NamesOrFiles = None) -> None:
    """Check that model files are whole and match their cards.

    Exit code 1 when a file is wrong, or a model that was named is not on this machine.
    """
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
