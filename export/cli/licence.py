"""fiqa-export --licence: may I ship this?"""

import typer
from rich.console import Console
from rich.table import Column, Table

from export.licence import CODE, Licence, licence_of
from export.networks import NETWORKS
from sdk.commands.console import cell, print_plain
from sdk.models.catalog import catalog

_COLOURS = {"yes": "green", "ask": "yellow", "no": "red"}


def show_licences(model: str | None) -> None:
    """Print the licence of one model and of fiqa's code, or a table of all models in the catalogue.

    Raises:
        BadParameter: There is no such model.
    """
    known = dict.fromkeys([*catalog(), *NETWORKS])
    if model is not None and model not in known:
        raise typer.BadParameter(f"{model!r}, wanted one of: {', '.join(known)}", param_hint="--model")
    console = Console()
    if model is not None:
        _show_one(console, licence_of(model))
        print_plain(console, f"fiqa itself ({CODE.licence}): May I ship it? {CODE.ship}. {CODE.reason}")
        return
    table = Table(Column("", no_wrap=True), "may I ship it?", "licence", Column("why", overflow="fold"))
    for found in (CODE, *map(licence_of, catalog())):
        answer = cell(found.ship, _COLOURS[found.ship])
        table.add_row(cell(found.name), answer, cell(found.licence), cell(found.reason))
    console.print(table)
    print_plain(
        console,
        "ask: the licence allows it, but something behind it is open. No legal advice. Details: --licence --model NAME",
    )


def _show_one(console: Console, found: Licence) -> None:
    rows = {
        "model": found.name,
        "licence": found.licence,
        "attribution": found.attribution or "none required",
        "training data": found.training_data or "not stated",
    }
    for name, value in rows.items():
        print_plain(console, f"{name}: {value}")
    print_plain(console, f"May I ship it? {found.ship}. {found.reason}", _COLOURS[found.ship])
