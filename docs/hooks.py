"""Hooks of mkdocs: the page of the commands is written from the commands; the first page has the live demonstration; no
page asks another machine for anything.

mkdocs calls the functions `on_...`, those of pages for every page.
"""

import re
import runpy
from collections.abc import Iterator
from importlib.metadata import entry_points
from inspect import cleandoc
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.plugins import get_plugin_logger
from typer.main import get_command

PAGE = "reference/commands.md"
COMMANDS = ("fiqa", "fiqa-train", "fiqa-export")
ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)\s#]+)\)")
BUILDER = runpy.run_path(str(ROOT / "examples" / "browser" / "build.py"))
MARK = "<!-- demonstration -->"
FRAME = '<iframe class="demonstration" src="demo/index.html" title="Score a picture" allow="camera"></iframe>'
INSTEAD = "*The live demonstration is missing here: onnxruntime-web could not be fetched when these pages were built.*"
REQUEST = re.compile(r"<(?:script|img|link|iframe)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>")


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Add all commands to their page, the demonstration to its, and show links to files outside docs/ as text."""
    folder = Path(page.file.abs_src_path).parent

    def plain(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        return link[1] if target.exists() and not target.is_relative_to(ROOT / "docs") else link[0]

    markdown = LINK.sub(plain, markdown)
    if MARK in markdown:
        markdown = markdown.replace(MARK, FRAME if demonstration(Path(config.site_dir)) else INSTEAD)
    return markdown + commands() if page.file.src_uri == PAGE else markdown


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuse a page that makes its reader's browser ask another machine."""
    if found := REQUEST.search(output):
        raise PluginError(f"{page.file.src_uri} asks another machine: {found[0]}; keep what it needs in docs/")
    return output


def demonstration(site: Path) -> bool:
    """Build the live demonstration into a site; return False where onnxruntime-web cannot be fetched."""
    try:
        BUILDER["build"](site / "demo", BUILDER["fetch"]())
    except BUILDER["NoPackageError"] as error:
        get_plugin_logger("demonstration").info("left out: %s", error)
        return False
    return True


def commands() -> str:
    """Return Markdown of all commands with their options."""
    scripts = entry_points(group="console_scripts")
    apps = {script.name: script.load() for script in scripts if script.name in COMMANDS}
    return "\n".join(line for name in COMMANDS for line in describe(get_command(apps[name]), name, 2))


def describe(command: Any, name: str, level: int) -> Iterator[str]:
    """Yield the lines of a command, and of those below it."""
    context = command.make_context(name, [], resilient_parsing=True)
    command = context.command  # some commands know their options only now
    yield f"\n{'#' * level} {name}\n\n{cleandoc(command.help or '')}\n"
    options = [option for option in command.params if not getattr(option, "hidden", False)]
    if options:
        yield "| option | what it does | default |\n| --- | --- | --- |"
        yield from (row(option) for option in options)
    for each in sorted(command.list_commands(context) if hasattr(command, "list_commands") else ()):
        yield from describe(command.get_command(context, each), f"{name} {each}", min(level + 1, 4))


def row(option: Any) -> str:
    """Return a row of the table: names, help, default."""
    names = ", ".join(f"`{each}`" for each in (*option.opts, *option.secondary_opts))
    if option.param_type_name == "argument":
        names = f"`{(option.metavar or option.name).upper()}`"
    default = option.default() if callable(option.default) else option.default
    shown = "" if default is None or default is False or default in ("", (), []) else f"`{default}`"
    text = (getattr(option, "help", "") or "").replace("|", "\\|").replace("\n", " ")
    return f"| {names} | {text} | {'required' if option.required else shown} |"
