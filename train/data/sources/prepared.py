"""What `fiqa-train prepare` has done: a journal on disk, so that a run that was stopped goes on, and a report."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from sdk.errors import InputError
from sdk.files import LineFile, open_file, write_errors
from sdk.text import shortened
from train.data.tables import write_table
from train.run_state import RunRecord, parse_record

logger = logging.getLogger(__name__)

_ANEW = "delete it to start anew"
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image that is done.

    Attributes:
        name: Of the image.
        rows: Of its crops in the manifest; none where the image is left out.
        landmarks: Ten numbers, `x1 y1 ... x5 y5`, where a detector found them.
        found: Number of faces that the detector found.
        error: Reason why the image is left out.
        faceless: The reason is that no face was found.
    """

    name: str
    rows: Sequence[dict[str, Any]] = ()
    landmarks: Sequence[float] = ()
    found: int = 0
    error: str = ""
    faceless: bool = False


class PreparedJournal:
    """A file with a line for the run, then a line (a JSON object) for each image that is done.

    Args:
        path: The file; read where it exists.
        record: What decides the crops.
        names: Name of each image.

    Attributes:
        done: What is done, by image.

    Raises:
        InputError: The file is damaged, or of a run with other settings or images, or another run is writing it.
    """

    def __init__(self, path: Path, record: RunRecord, names: Sequence[str]) -> None:
        self.done: dict[int, Prepared] = {}
        self._path, self._places = path, {name: place for place, name in enumerate(names)}
        if path.exists():
            self._read(record)
        self._file = LineFile(path)  # cuts off a line that was not finished
        if not self.done:
            self._file.cut()
            self._write(record.as_dict())

    def _read(self, record: RunRecord) -> None:
        with open_file(self._path, InputError, _ANEW) as file:
            first = file.readline(_LONGEST_LINE)
            if not first.endswith(b"\n"):
                return
            record.check(parse_record(first, self._path), self._path, "give another --out, or delete it to start anew")
            for line in iter(partial(file.readline, _LONGEST_LINE), b""):
                if not line.endswith(b"\n"):  # the run was stopped in this line: the image is done again
                    break
                self._take(parse_record(line, self._path))

    def _take(self, line: dict[str, Any]) -> None:
        try:
            found = Prepared(**line)
            self.done[self._places[found.name]] = found
        except (TypeError, KeyError) as error:
            raise InputError(f"{self._path} is damaged ({shortened(repr(line))} is no image of it); {_ANEW}") from error

    def add(self, place: int, prepared: Prepared) -> None:
        """Add an image, when its crops are on disk.

        Raises:
            OutputError: The disk is full; images that were added before are safe.
        """
        self._write(asdict(prepared))
        self.done[place] = prepared

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def remove(self) -> None:
        """Delete the file, when the manifest is written."""
        with write_errors(self._path):
            self._file.remove()

    def __enter__(self) -> "PreparedJournal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_report(done: Sequence[Prepared], out: Path) -> None:
    """Log once how many images are left out and why, and write what was found.

    Args:
        done: All images.
        out: Folder for `left-out.csv`, which names the images without crops, and for `landmarks.csv`, which has the
            landmarks that were detected.
    """
    left_out = [prepared for prepared in done if prepared.error]
    if left_out:
        rows = [{"path": prepared.name, "error": prepared.error} for prepared in left_out]
        write_table(pa.Table.from_pylist(rows), out / "left-out.csv")
        faceless = [prepared for prepared in left_out if prepared.faceless]
        unread = [prepared for prepared in left_out if not prepared.faceless]
        kinds = [(len(faceless), "show no face"), (len(unread), "cannot be used")]
        why = ", ".join(f"{number} {kind}" for number, kind in kinds if number)
        first = "; ".join(group[0].error for group in (faceless, unread) if group)
        logger.warning(
            "%d of %d images are left out: %s; first: %s; %s names all",
            len(left_out), len(done), why, first, out / "left-out.csv",
        )  # fmt: skip
    detected = [prepared for prepared in done if prepared.landmarks]
    if detected:
        found: list[dict[str, Any]] = [
            {"path": each.name, "landmarks": " ".join(f"{value:.2f}" for value in each.landmarks), "faces": each.found}
            for each in detected
        ]
        write_table(pa.Table.from_pylist(found), out / "landmarks.csv")
        several = sum(prepared.found > 1 for prepared in detected)
        note = f"; {several} photos show several faces, one near the middle is taken" if several else ""
        logger.info("%d faces were detected%s; %s", len(detected), note, out / "landmarks.csv")
