"""The last line of commands that take many images."""

from pathlib import Path

import typer
from rich.console import Console

from sdk.commands.console import SOME_FAILED, print_plain


def print_summary(out: Path, images: int, failed: int, done: str) -> None:
    """Print how many images were done, and exit with `SOME_FAILED` where not all were.

    Args:
        out: File that was written.
        images: Images in all.
        failed: Images that failed.
        done: Verb, such as "labelled".
    """
    print_plain(Console(), f"{out}: {images - failed} {done}, {failed} failed")
    if failed:
        raise typer.Exit(SOME_FAILED)
