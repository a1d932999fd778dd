"""Let the site be written from the code: the API from the sources, the commands from what they say of themselves."""

import re
import shutil
from collections.abc import Iterator
from importlib.metadata import entry_points
from inspect import cleandoc
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from typer.main import get_command

PAGE = "reference/commands.md"
COMMANDS = ("fiqa", "fiqa-train", "fiqa-export")
ROOT = Path(__file__).parents[1]
REQUEST = re.compile(r"<(?:script|img|link|iframe)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
REFERENCE = ROOT / "build/reference"


def on_startup(**_: Any) -> None:
    """Copy the sources of `sdk` to where mkdocstrings looks; it reads folders with an `__init__.py` only."""
    shutil.rmtree(REFERENCE, ignore_errors=True)
    for source in (ROOT / "sdk").rglob("*.py"):
        copy = REFERENCE / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        (copy.parent / "__init__.py").touch()
        shutil.copyfile(source, copy)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Add all commands to their page; mkdocs calls this for every page."""
    return markdown + commands() if page.file.src_uri == PAGE else markdown


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuse a page that makes its reader's browser ask another machine; mkdocs calls this for every page."""
    if found := REQUEST.search(output):
        raise PluginError(f"{page.file.src_uri} asks another machine: {found[0]}; keep what it needs in docs/")
    return output


def commands() -> str:
    """Return Markdown of all commands with their options."""
    scripts = entry_points(group="console_scripts")
    apps = {script.name: script.load() for script in scripts if script.name in COMMANDS}
    return "\n".join(line for name in COMMANDS for line in describe(get_command(apps[name]), name, 2))


def describe(command: Any, name: str, level: int) -> Iterator[str]:
    """Yield the lines of a command, and of those below it."""
    below = getattr(command, "commands", {})
    yield f"\n{'#' * level} {name}\n\n{cleandoc(command.help or '')}\n"
    options = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    if options:
        yield "| option | what it does | default |\n| --- | --- | --- |"
        yield from (row(option) for option in options)
    for each in sorted(below):
        if not below[each].hidden:
            yield from describe(below[each], f"{name} {each}", min(level + 1, 4))


def row(option: Any) -> str:
    """Return a row of the table: names, help, default."""
    names = ", ".join(f"`{each}`" for each in (*option.opts, *option.secondary_opts))
    if option.param_type_name == "argument":
        names = f"`{(option.metavar or option.name).upper()}`"
    default = option.default() if callable(option.default) else option.default
    shown = f"`{default}`" if default not in (None, False, "", (), []) else ""
    text = (getattr(option, "help", "") or "").replace("|", "\\|").replace("\n", " ")
    return f"| {names} | {text} | {'required' if option.required else shown} |"
