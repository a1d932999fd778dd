"""Shared by all commands: exit codes of errors, plain lines, progress bars. Bars show on a terminal only."""

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
from sdk.text import ONNXRUNTIME_EXTRAS, shown

FAILED, WRONG_USAGE, SOME_FAILED, SOME_REJECTED, INTERRUPTED, BROKEN_PIPE = 1, 2, 3, 4, 130, 141
"""Exit codes of every command: error, wrong usage, some files without a score, some faces rejected, stopped, and no
reader of stdout."""


class Commands(TyperGroup):
    """Group of commands. Its own errors, which quote what was typed, are shown as plain as those of fiqa."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Prepare the console, and run a command."""
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
    """Make printing work on a console of any encoding, and where stdout or stderr is closed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # its number is the lowest one free, and would be given to the next file
            setattr(sys, name, open(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class PlainFormatter(logging.Formatter):
    """Format a record as one plain line, and its traceback as plain lines below."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line."""
        return shown(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return the traceback."""
        return "\n".join(map(shown, super().formatException(ei).splitlines()))


@contextmanager
def error_exits() -> Iterator[None]:
    """Turn an error of fiqa into a message on stderr and an exit code. A bug passes, with its traceback."""
    try:
        yield
    except FiqaError as error:
        print_plain(Console(stderr=True), f"error: {error}", "red")
        raise typer.Exit(WRONG_USAGE if isinstance(error, InputError) else FAILED) from error
    except KeyboardInterrupt as error:
        print_plain(Console(stderr=True), str(error) or "stopped", "yellow")
        raise typer.Exit(getattr(error, "code", INTERRUPTED)) from error
    except ImportError as error:
        if error.name != "cv2":
            raise
        say(f"error: OpenCV cannot be imported: {error}; `fiqa doctor` says what to do", "red")
        raise typer.Exit(FAILED) from error
    except BrokenPipeError as error:
        drop_output()
        raise typer.Exit(BROKEN_PIPE) from error


@contextmanager
def missing_packages(extra: str) -> Iterator[None]:
    """Turn the error of a package that is not installed into one that says how to install it.

    Args:
        extra: The extra of fiqa that brings the packages of the block.

    Raises:
        FiqaError: A package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "fiqa", "sdk", "export", "train"):
            raise
        wanted = ONNXRUNTIME_EXTRAS if package == "onnxruntime" else f"'fiqa[{extra}]'"
        raise FiqaError(f"{package} is not installed; pip install {wanted}") from error


def drop_output() -> None:
    """Throw away what is still to be printed, as nobody reads it any more."""
    null = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):  # a stream without a number
        os.dup2(null, sys.stdout.fileno())
    os.close(null)


def print_plain(console: Console, text: str, style: str = "") -> None:
    """Print a text as one line: without markup and wrapping, and with control characters escaped."""
    console.print(Text(shown(text), style), soft_wrap=True)


def say(text: str, style: str = "") -> None:
    """Print one plain line on stderr."""
    print_plain(Console(stderr=True), text, style)


def cell(text: object, style: str = "") -> Text:
    """Return a cell of a table: without markup, with control characters escaped, folded where it is long."""
    return Text(shown(str(text)), style, overflow="fold")


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr with the remaining time; gives the function that advances it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    # Speed over ten minutes: a batch may take a minute, and over rich's half a minute there would be no estimate.
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal, speed_estimate_period=600
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda steps: bar.advance(task, steps)


class Download:
    """Progress bar of a download, with the methods that `pooch.HTTPDownloader` calls. A context manager.

    It shows from the moment when the size is known, so that what is said before stands above it.
    """

    def __init__(self, what: str) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task(what, total=None)

    @property
    def total(self) -> float | None:
        """Size of the whole file, bytes."""
        return self._bar.tasks[0].total

    @total.setter
    def total(self, size: int) -> None:
        self._bar.update(self._task, total=size)
        self._bar.start()

    def update(self, size: int) -> None:
        """Count bytes that have come."""
        self._bar.advance(self._task, size)

    def reset(self) -> None:
        """Count from 0 again."""
        self._bar.update(self._task, completed=0)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.stop()

    def __enter__(self) -> "Download":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
