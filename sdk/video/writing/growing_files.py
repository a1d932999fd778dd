"""Files that grow for as long as a run: lines that can be read meanwhile, and drafts that get their name at the end."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import FiqaError, InputError
from sdk.files import LineFile, check_name, is_stream, replacing, write_errors


class Draft:
    """A file that grows under another name, and gets its own at the end unless something failed; see `replacing`.

    Attributes:
        path: What to write to.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._place = ExitStack()
        self._failed = False
        self.path = self._place.enter_context(replacing(target))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Remember an error, and give it its type."""
        try:
            with write_errors(self._target):
                yield
        except BaseException:
            self._failed = True
            raise

    def finish(self, last: Callable[[], object]) -> None:
        """Do the last of the work and give the file its name. If anything failed, nothing is left."""
        try:
            if not self._failed:
                with self.writing():
                    last()
        finally:
            if self._failed:
                self.discard()
            else:
                self._place.close()

    def discard(self) -> None:
        """Leave nothing behind."""
        self.path.unlink(missing_ok=True)
        with suppress(FiqaError):  # there is no draft to rename any more
            self._place.close()


def json_line(row: dict[str, Any]) -> bytes:
    """Return a row as one line of JSON."""
    return json.dumps(row, allow_nan=False).encode() + b"\n"


def open_lines(path: Path, start: bytes) -> LineFile:
    """Open a file of lines, to go on after those that are there.

    Args:
        path: The file.
        start: Start of each of its lines.

    Raises:
        InputError: The file is there and starts otherwise, so it is something else and stays as it is.
    """
    check_name(path)
    with write_errors(path):
        found = b""
        if path.is_file() and not is_stream(path):
            with path.open("rb") as file:
                found = file.read(len(start))
        if not start.startswith(found):
            raise InputError(f"{path} is there and holds something else; choose another name, or move it away")
    return LineFile(path)


def rounded(values: Sequence[float] | NDArray[np.float32]) -> list[float]:
    """Return numbers with two digits."""
    return [round(float(value), 2) for value in values]


def refuse_existing(option: str, path: Path) -> None:
    """Refuse to replace a file that is not empty.

    Raises:
        InputError: There is such a file.
    """
    with write_errors(path):
        if path.is_file() and path.stat().st_size:
            raise InputError(f"{option} {path} is there and would be lost; choose another name, or move it away")
