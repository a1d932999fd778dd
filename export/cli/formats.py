"""fiqa-export formats: what can be exported."""

from rich.console import Console
from rich.table import Column, Table

from export.formats.table import export_format
from export.targets import targets
from sdk.commands.console import print_plain
from sdk.models.formats import FORMATS


def formats() -> None:
    """Show which formats, precisions, targets and options go together."""
    console = Console()
    console.print(_format_table())
    console.print(_target_table())
    for target in targets().values():
        if target.notes:
            print_plain(console, f"{target.name}: {target.notes}")
    print_plain(
        console,
        "--calibration is for int8 and int8+fp16. All formats take --faces, --evaluate, --judge, --keep-going, --out.",
    )


def _format_table() -> Table:
    table = Table("--format", "--precision", "other options", "files", Column("runs in", overflow="fold"))
    for name, format_ in FORMATS.items():
        kind = export_format(name)
        base = [FORMATS[kind.built_from].suffix] if kind.built_from else []
        files = [*base, format_.suffix, *(suffix for suffix in format_.beside if suffix != ".json")]
        taken = ", ".join(f"--{option}" for option in kind.options)
        table.add_row(name, ", ".join(format_.precisions), taken, ", ".join(files), kind.runs)
    return table


def _target_table() -> Table:
    table = Table("--target", Column("device", overflow="fold"), "--format", "--precision")
    for target in targets().values():
        gpu = f" (compute capability {', '.join(target.architectures)})" if target.architectures else ""
        table.add_row(target.name, target.summary + gpu, ", ".join(target.formats), ", ".join(target.precisions))
    return table
