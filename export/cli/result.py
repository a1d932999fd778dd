"""Print the result of an export."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from sdk.commands.console import cell, print_plain

if TYPE_CHECKING:
    from export.exported import Exported
    from export.proof.pauc_change import Change


def show_result(exported: "Exported") -> None:
    """Print the agreement with the source, the files, and what the user must know."""
    console = Console()
    if exported.agreements:
        console.print(_agreement_table(exported))
    if exported.change is not None:
        _show_change(console, exported.change)
    print_plain(console, f"{exported.path}: {exported.size:,} bytes, SHA-256 {exported.sha256}")
    print_plain(console, f"report: {exported.report}")
    for failure in exported.failures:
        print_plain(console, f"NOT PROVEN: {failure}", "red")
    for note in exported.notes:
        print_plain(console, f"note: {note}", "yellow")


def _agreement_table(exported: "Exported") -> Table:
    title = cell(f"{exported.path}, verified on {exported.faces} images")
    table = Table("runtime and batch", "largest difference", "mean", "shift", "Spearman", title=title)
    for place, found in exported.agreements.items():
        figures = (f"{found.largest:.1e}", f"{found.mean:.1e}", f"{found.shift:+.1e}", f"{found.spearman:.5f}")
        table.add_row(cell(place), *figures)
    return table


def _show_change(console: Console, change: "Change") -> None:
    print_plain(console, f"{change.errors} of {change.comparisons} mated comparisons fail (FMR 0.001)")
    for name, before in change.before.items():
        print_plain(console, f"{name}: {before:.4f} before, {change.after[name]:.4f} after")
