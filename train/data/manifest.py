"""Manifests: which images, of whom, with which landmarks.

A manifest is a table, CSV or Parquet, with a row an image:

- `path`: relative to the manifest's folder, or absolute.
- `identity` (optional): the person; the name of the image's folder where there is no such column.
- `landmarks` (optional): ten numbers `x1 y1 ... x5 y5` in image pixels, as text or as a list. With them the face is
  aligned when it is read; without them the image must be an aligned 112 x 112 crop.

Any further column is kept. A folder of images, one sub-folder a person, is a manifest too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from sdk.alignment import align
from sdk.errors import ImageError, InputError
from sdk.files import make_folder, replace_file
from sdk.folders import IMAGE_SUFFIXES, images_below
from sdk.images import load_image


@dataclass(frozen=True, slots=True)
class Manifest:
    """A table of images and the folder that its paths are relative to."""

    table: pa.Table
    root: Path

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def paths(self) -> list[str]:
        """The `path` column: the key of a row, which also seeds whatever is random about it."""
        return self.table["path"].to_pylist()

    @property
    def identities(self) -> list[str]:
        """The person of each row."""
        return self.table["identity"].to_pylist()

    def column(self, name: str) -> list[Any]:
        """Values of a column.

        Raises:
            InputError: There is no such column.
        """
        if name not in self.table.column_names:
            raise InputError(f"the manifest has no column {name!r}, only {', '.join(self.table.column_names)}")
        return self.table[name].to_pylist()

    def select(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> "Manifest":
        """The rows at these indices."""
        return Manifest(self.table.take(pa.array(np.asarray(rows, dtype=np.int64))), self.root)

    def landmarks(self, row: int) -> NDArray[np.float64] | None:
        """The landmarks (5, 2) of one face, in its image's pixels; None where the row has none.

        Raises:
            ImageError: They are not ten numbers.
        """
        if "landmarks" not in self.table.column_names:
            return None
        return parse_landmarks(self.table["landmarks"][row].as_py(), self.root / self.table["path"][row].as_py())

    def load_face(self, row: int) -> NDArray[np.uint8]:
        """Read one face, aligned on its landmarks where the row has them.

        Returns:
            uint8 BGR (112, 112, 3).

        Raises:
            ImageError: The image cannot be read, or has no landmarks and is not 112 x 112.
        """
        path = self.root / self.table["path"][row].as_py()
        image = load_image(path)
        landmarks = self.landmarks(row)
        if landmarks is not None:
            return align(image, landmarks)
        if image.shape != (112, 112, 3):
            height, width = image.shape[:2]
            raise ImageError(
                f"{path} is {width} x {height} and has no landmarks, wanted an aligned 112 x 112 crop; "
                "add a column 'landmarks' to the manifest or align the image first"
            )
        return image


def parse_landmarks(value: str | Sequence[float] | None, path: Path) -> NDArray[np.float64] | None:
    """Ten numbers -> (5, 2), None for an empty value.

    Raises:
        ImageError: They are not ten numbers.
    """
    if value is None or value == "":
        return None
    try:
        numbers = np.array(value.split() if isinstance(value, str) else value, dtype=np.float64)
    except ValueError as error:
        raise ImageError(f"landmarks of {path} are not numbers: {error}") from error
    if not np.isfinite(numbers).all():
        raise ImageError(f"landmarks of {path} hold NaN or infinity, wanted ten numbers; correct or drop them")
    if numbers.size != 10:
        raise ImageError(f"landmarks of {path} are {numbers.size} numbers, wanted 10: x1 y1 ... x5 y5")
    return numbers.reshape(5, 2)


def read_manifest(source: Path) -> Manifest:
    """Read a folder of images, a CSV file or a Parquet file.

    Raises:
        InputError: The source is missing, empty, of another kind, has no column `path`, or names a path twice.
    """
    if source.is_dir():
        files = [path.relative_to(source) for path in images_below(source)]
        if not files:
            raise InputError(f"{source} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
        return make_manifest([{"path": path.as_posix()} for path in files], source)
    table = read_table(source)
    if "path" not in table.column_names:
        raise InputError(f"{source} has no column 'path', only {', '.join(table.column_names)}")
    if table.num_rows == 0:
        raise InputError(f"{source} has no rows")
    counts = table["path"].combine_chunks().value_counts()
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        raise InputError(f"{source} names {repeated[0]['values']} more than once, wanted one row an image")
    return Manifest(_with_identity(table), source.parent)


def make_manifest(rows: Iterable[dict[str, Any]], root: Path) -> Manifest:
    """A manifest from rows of plain values."""
    return Manifest(_with_identity(pa.Table.from_pylist(list(rows))), root)


def _with_identity(table: pa.Table) -> pa.Table:
    if "identity" in table.column_names:
        return table.set_column(table.column_names.index("identity"), "identity", table["identity"].cast(pa.string()))
    return table.append_column("identity", pa.array([Path(path).parent.name for path in table["path"].to_pylist()]))


def read_table(path: Path) -> pa.Table:
    """Read a CSV or Parquet file.

    Raises:
        InputError: The file is missing, damaged or of another kind.
    """
    if not path.is_file():
        raise InputError(f"no file at {path}; give a folder of images, a .csv or a .parquet")
    try:
        if path.suffix == ".csv":
            return pyarrow.csv.read_csv(path)
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} cannot be read as {path.suffix[1:]}: {error}") from error
    raise InputError(f"{path} ends in {path.suffix or 'nothing'!r}, wanted .csv or .parquet")


def check_table_path(path: Path) -> None:
    """Fail before the work, not after it, when `write_table` could not write there.

    Raises:
        InputError: The file's ending is neither .csv nor .parquet, or the folder cannot be made or written.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise InputError(f"{path} ends in {path.suffix or 'nothing'!r}, wanted .csv or .parquet")
    make_folder(path.parent)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a CSV or Parquet file, beside the target first and then renamed.

    Raises:
        InputError: The file cannot be written there.
        OutputError: The disk is full.
    """
    check_table_path(path)
    if path.suffix == ".csv":
        replace_file(path, partial(pyarrow.csv.write_csv, _flat(table)))
    else:
        replace_file(path, partial(pyarrow.parquet.write_table, table))


def _flat(table: pa.Table) -> pa.Table:
    """Lists as text, which is all that CSV can hold."""
    for index, column in enumerate(table.schema):
        if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
            values = [None if row is None else " ".join(map(str, row)) for row in table[index].to_pylist()]
            table = table.set_column(index, column.name, pa.array(values, pa.string()))
    return table
