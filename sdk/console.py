"""What the commands share: errors as exit codes, plain lines, progress bars. Bars show on a terminal only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sdk.errors import FiqaError, InputError

FAILED, WRONG_USAGE, SOME_FAILED, INTERRUPTED = 1, 2, 3, 130
"""Exit codes of every command: an error; wrong usage; some files have no score; stopped by the user."""


@contextmanager
def error_exits() -> Iterator[None]:
    """Turn fiqa's errors into a message on stderr and an exit code, and let bugs through with their traceback."""
    try:
        yield
    except FiqaError as error:
        print_plain(Console(stderr=True), f"error: {error}", "red")
        raise typer.Exit(WRONG_USAGE if isinstance(error, InputError) else FAILED) from error


def print_plain(console: Console, text: str, style: str = "") -> None:
    """Print text as it is: no markup (file names may hold brackets), no wrapping."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr with the remaining time; gives the function that advances it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    # Speed over ten minutes: a batch may take a minute, and over rich's half a minute there would be no estimate.
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal, speed_estimate_period=600
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
