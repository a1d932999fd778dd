"""What the commands share: errors as exit codes, plain lines, progress bars. Bars show on a terminal only."""

import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text
from typer.core import TyperGroup

from sdk.errors import FiqaError, InputError
from sdk.text import shown

FAILED, WRONG_USAGE, SOME_FAILED, INTERRUPTED, BROKEN_PIPE = 1, 2, 3, 130, 141
"""Exit codes of every command: an error; wrong usage; some files have no score; stopped by the user; nobody reads."""


class Commands(TyperGroup):
    """A group of commands whose own errors, which quote what was typed, are as plain as fiqa's."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run a command, the console prepared before the first word is read."""
        prepare_console()
        return super().main(*arguments, **options)

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Read the options of the group."""
        with _plain_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Read the options of the command, and run it."""
        with _plain_errors():
            return super().invoke(ctx)


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message"):  # of click, or of the copy that newer versions of typer bring
            text = shown(error.format_message())
            vars(error)["format_message"] = lambda: text
        raise


def prepare_console() -> None:
    """Make sure that printing never fails: on a console of any encoding, and where stdout or stderr is closed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # its number is the lowest one free, and would be given to the next file
            setattr(sys, name, open(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class PlainFormatter(logging.Formatter):
    """Writes a record as one plain line, and its traceback below in plain lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line."""
        return shown(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return the traceback."""
        return "\n".join(map(shown, super().formatException(ei).splitlines()))


@contextmanager
def error_exits() -> Iterator[None]:
    """Turn fiqa's errors into a message on stderr and an exit code, and let bugs through with their traceback."""
    try:
        yield
    except FiqaError as error:
        print_plain(Console(stderr=True), f"error: {error}", "red")
        raise typer.Exit(WRONG_USAGE if isinstance(error, InputError) else FAILED) from error
    except KeyboardInterrupt as error:
        print_plain(Console(stderr=True), str(error) or "stopped", "yellow")
        raise typer.Exit(getattr(error, "code", INTERRUPTED)) from error
    except BrokenPipeError as error:
        drop_output()
        raise typer.Exit(BROKEN_PIPE) from error


def drop_output() -> None:
    """Send what is still to be printed nowhere, as nobody reads it any more."""
    null = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):  # a stream without a number
        os.dup2(null, sys.stdout.fileno())
    os.close(null)


def print_plain(console: Console, text: str, style: str = "") -> None:
    """Print one line, letter by letter: no markup, no wrapping, and what cannot be seen is shown escaped."""
    console.print(Text(shown(text), style), soft_wrap=True)


def say(text: str, style: str = "") -> None:
    """Print one plain line on stderr."""
    print_plain(Console(stderr=True), text, style)


def cell(text: object, style: str = "") -> Text:
    """Return a cell of a table that shows a text letter by letter, folded where it is long."""
    return Text(shown(str(text)), style, overflow="fold")


@contextmanager
def progress_bar(what: str, total: int, hidden: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar on stderr with the remaining time; gives the function that advances it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    # Speed over ten minutes: a batch may take a minute, and over rich's half a minute there would be no estimate.
    with Progress(
        *columns, console=console, transient=True, disable=hidden or not console.is_terminal, speed_estimate_period=600
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda steps: bar.advance(task, steps)


class Download:
    """A bar as `pooch.HTTPDownloader` wants it, also a context manager."""

    def __init__(self, what: str) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task(what, total=None)

    @property
    def total(self) -> float | None:
        """Bytes to come."""
        return self._bar.tasks[0].total

    @total.setter
    def total(self, size: int) -> None:
        self._bar.update(self._task, total=size)

    def update(self, size: int) -> None:
        """So many bytes more have come."""
        self._bar.advance(self._task, size)

    def reset(self) -> None:
        """Back to nothing."""
        self._bar.update(self._task, completed=0)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()

    def __enter__(self) -> "Download":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
