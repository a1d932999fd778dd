"""Journal of a labelling run: the finished rows, on disk, so that a run that was stopped or killed goes on."""

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sdk.errors import InputError
from sdk.files import LineFile, open_file, write_errors
from sdk.text import shortened
from train.run_state import RunRecord, parse_record

_ANEW = "delete it to start anew"
_OR_ELSEWHERE = "delete it to start anew, or give another --out"
_LONGEST_LINE = 1 << 20


class Journal:
    """A file with a line of settings, then a line (a JSON object) for each finished row.

    Attributes:
        done: bool (N,), True for the finished rows.
        values: float64 (N,), NaN where a row is not finished or failed.
        errors: Why a row failed, by row.

    Args:
        path: The file; read where it exists.
        settings: What decides the values, as plain values.
        paths: Path of the image of each row.

    Raises:
        InputError: The file is damaged, or of a run with other settings or images.
    """

    def __init__(self, path: Path, settings: dict[str, Any], paths: Sequence[str]) -> None:
        self.path = path
        self.done = np.zeros(len(paths), bool)
        self.values = np.full(len(paths), np.nan)
        self.errors: dict[int, str] = {}
        self._paths = paths
        self._record = RunRecord({**settings, "rows": len(paths)})
        if path.exists():
            self._read()

    @property
    def has_values(self) -> bool:
        """True where a row was finished without an error."""
        return int(self.done.sum()) > len(self.errors)

    def _read(self) -> None:
        with open_file(self.path, InputError, _ANEW) as file:
            first = file.readline(_LONGEST_LINE)
            if not first.endswith(b"\n"):
                return
            self._record.check(parse_record(first, self.path), self.path, _OR_ELSEWHERE)
            for line in iter(partial(file.readline, _LONGEST_LINE), b""):
                if not line.endswith(b"\n"):  # the run was stopped in this line: the row is done again
                    break
                self._take(parse_record(line, self.path))

    def _take(self, line: dict[str, Any]) -> None:
        row, value, error = line.get("row"), line.get("value"), line.get("error", "")
        good = _is_finite(value) if not error else isinstance(error, str)
        if not isinstance(row, int) or not 0 <= row < len(self._paths) or not good:
            raise InputError(f"{self.path} is damaged ({shortened(repr(line))} is no row of it); {_ANEW}")
        if self._paths[row] != line.get("path"):
            raise InputError(
                f"{self.path} has {shortened(repr(line.get('path')))} as image {row}, this run has "
                f"{self._paths[row]!r}; {_OR_ELSEWHERE}"
            )
        self.done[row] = True
        self.values[row] = np.nan if error else value
        if error:
            self.errors[row] = error

    def __enter__(self) -> "Journal":
        self._file = LineFile(self.path)  # cuts off a line that was not finished
        if not self.done.any():
            self._file.cut()
            self._write([self._record.as_dict()])
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, finished: pa.Table) -> None:
        """Add finished rows: `row`, `value`, `error`.

        Raises:
            OutputError: The disk is full; rows that were added before are safe.
        """
        lines = []
        for row, value, error in zip(*(finished[name].to_pylist() for name in ("row", "value", "error")), strict=True):
            result = {"error": error} if error else {"value": value}
            lines.append({"row": row, "path": self._paths[row], **result})
        self._write(lines)
        for line in lines:
            self._take(line)

    def _write(self, lines: list[dict[str, Any]]) -> None:
        self._file.write("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode())

    def remove(self) -> None:
        """Delete the file, when its rows are in the output."""
        with write_errors(self.path):
            self.path.unlink()


def _is_finite(value: object) -> bool:
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # an integer of 400 digits
        return False
