"""Manifests: which images, of whom, with which landmarks.

A manifest is a table, CSV or Parquet, with a row an image:

- `path`: relative to the manifest's folder, or absolute.
- `identity` (optional): the person; the image's folder where there is no such column, see `train.data.identities`.
- `landmarks` (optional): ten numbers `x1 y1 ... x5 y5` in image pixels, as text or as a list. With them the face is
  aligned when it is read; without them the image must be an aligned 112 x 112 crop.

Names are text, letter by letter, see `train.data.tables`. Any further column is kept. A manifest is also:

- a folder of images, one sub-folder for each person;
- a list, `.txt`: a path a line, as in a table;
- a pickle of scores, see `train.data.pickles.published.read_scores`: the paths are relative to its folder.
"""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sdk.alignment import align
from sdk.errors import ImageError, InputError
from sdk.files import make_folder, read_text
from sdk.images.decoding import load_image
from sdk.images.file_kinds import IMAGE_SUFFIXES
from sdk.images.folders import images_below
from sdk.text import shortened
from train.data.identities import check_identity, identities_from_folders
from train.data.pickles.published import is_pickle, write_scores
from train.data.tables import check_table_path, numbers, read_table, where, write_table

__all__ = [
    "Manifest", "check_labels_path", "check_table_path", "make_manifest", "name_of", "names_in", "parse_landmarks",
    "read_manifest", "read_table", "table_for", "write_labels", "write_table",
]  # fmt: skip

logger = logging.getLogger(__name__)

NO_CROP = "has no landmarks, wanted an aligned 112 x 112 crop"
"""What an error says of an image that is no crop."""

HOW_TO_CROP = "`fiqa-train prepare` makes crops of photos, and with --aligned of aligned faces of any size"
"""What to do then."""


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
        """Return the values of a column.

        Raises:
            InputError: There is no such column.
        """
        self._require(name)
        return self.table[name].to_pylist()

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return the values (N,) of a column of numbers, NaN where a row has none.

        Raises:
            InputError: There is no such column, or a row has something else; names the row.
        """
        self._require(name)
        return numbers(self.table, name)

    def _require(self, name: str) -> None:
        names = self.table.column_names
        if name not in names:
            raise InputError(f"the manifest has no column {name!r}, only {shortened(', '.join(names))}")

    def select(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> "Manifest":
        """Return the rows at these indices."""
        return Manifest(self.table.take(pa.array(np.asarray(rows, dtype=np.int64))), self.root)

    def landmarks(self, row: int) -> NDArray[np.float64] | None:
        """Return the landmarks (5, 2) of one face, in its image's pixels; None where the row has none.

        Raises:
            ImageError: They are not ten numbers.
        """
        if "landmarks" not in self.table.column_names:
            return None
        return parse_landmarks(self.table["landmarks"][row].as_py(), self.root / self.table["path"][row].as_py())

    def load_image(self, row: int) -> tuple[NDArray[np.uint8], NDArray[np.float64] | None]:
        """Read one image and the landmarks of its face.

        Returns:
            The image, uint8 BGR (H, W, 3), and its landmarks (5, 2); or an aligned crop (112, 112, 3), and None.

        Raises:
            ImageError: The image cannot be read, or has no landmarks and is not 112 x 112.
        """
        path = self.root / self.table["path"][row].as_py()
        image = load_image(path)
        landmarks = self.landmarks(row)
        if landmarks is None and image.shape != (112, 112, 3):
            height, width = image.shape[:2]
            raise ImageError(f"{path} is {width} x {height} and {NO_CROP}; {HOW_TO_CROP}")
        return image, landmarks

    def load_face(self, row: int) -> NDArray[np.uint8]:
        """Read one face, aligned on its landmarks where the row has them.

        Returns:
            uint8 BGR (112, 112, 3).

        Raises:
            ImageError: As for `load_image`.
        """
        image, landmarks = self.load_image(row)
        return image if landmarks is None else align(image, landmarks)

    def load_faces(self, rows: Iterable[int]) -> NDArray[np.uint8]:
        """Read some faces, see `load_face`: uint8 BGR (N, 112, 112, 3)."""
        return np.stack([self.load_face(int(row)) for row in rows])


def parse_landmarks(value: Any, path: Path) -> NDArray[np.float64] | None:
    """Read landmarks (5, 2) from ten numbers, text or a list; None from an empty value.

    Raises:
        ImageError: They are not ten numbers.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        numbers = np.array(value.split() if isinstance(value, str) else value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ImageError(f"landmarks of {path} are not numbers: {shortened(error)}") from error
    if numbers.size != 10:
        raise ImageError(f"landmarks of {path} are {numbers.size} numbers, wanted 10: x1 y1 ... x5 y5")
    if not np.isfinite(numbers).all():
        raise ImageError(f"landmarks of {path} hold NaN or infinity, wanted ten numbers; correct or drop them")
    return numbers.reshape(5, 2)


def read_manifest(source: Path) -> Manifest:
    """Read a folder of images, a CSV file or a Parquet file.

    Raises:
        InputError: The source is missing, empty, of another kind, has no column `path`, names a path twice, or has a
            path or an identity that is none; names the row.
    """
    if source.is_dir():
        return make_manifest([{"path": name} for name in _names_below(source)], source)
    table = _read_list(source) if source.suffix.lower() == ".txt" else read_table(source)
    if "path" not in table.column_names:
        raise InputError(f"{source} has no column 'path', only {shortened(', '.join(table.column_names))}")
    if table.num_rows == 0:
        raise InputError(f"{source} has no rows")
    paths = table["path"].combine_chunks()
    for row, path in enumerate(paths.to_pylist()):
        if not path or "\0" in path:
            raise InputError(f"{source} has {path!r} as path in row {row + 1}, wanted the name of an image; correct it")
    counts = paths.value_counts()
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        name = shortened(repeated[0]["values"].as_py())
        raise InputError(f"{source} names {name} more than once, wanted one row an image")
    if "identity" in table.column_names:
        for row, identity in enumerate(table["identity"].to_pylist()):
            if why := check_identity(identity):
                raise InputError(f"the identity in {where(table, row)} of {source} {why}; correct it, or drop the row")
    return Manifest(_with_identity(table), source.parent)


def _read_list(path: Path) -> pa.Table:
    lines = read_text(path, InputError, "give a list of images, a path a line").splitlines()
    return pa.table({"path": pa.array([line.strip() for line in lines if line.strip()], pa.string())})


def _names_below(folder: Path) -> list[str]:
    """List the images of a folder, as paths relative to it."""
    names, odd = [], []
    for path in images_below(folder):
        name = path.relative_to(folder).as_posix()
        try:
            name.encode()
            names.append(name)
        except UnicodeEncodeError:
            odd.append(name)
    if odd:
        logger.warning("%d images have names that are not UTF-8 and are left out, first %r", len(odd), odd[0])
    if not names:
        raise InputError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return names


def make_manifest(rows: Iterable[dict[str, Any]], root: Path) -> Manifest:
    """Make a manifest from rows of plain values."""
    return Manifest(_with_identity(pa.Table.from_pylist(list(rows))), root)


def table_for(manifest: Manifest, folder: Path) -> pa.Table:
    """Return a manifest's table as it is written into a folder: with paths that lead to the images from there.

    Args:
        manifest: Images.
        folder: Where the table will be. In the manifest's own folder the table is as it is. Elsewhere the columns
            `path` and `original` are relative to it, and the names that the images had are kept in a column `source`,
            where there is none.
    """
    root, there = os.path.realpath(manifest.root), os.path.realpath(folder)
    table = manifest.table
    if root == there:
        return table

    def moved(path: str) -> str:
        if not path or os.path.isabs(path):
            return path
        try:
            return os.path.relpath(os.path.join(root, path), there).replace(os.sep, "/")
        except ValueError:  # on another drive of Windows
            return os.path.join(root, path)

    for index, name in enumerate(table.column_names):
        if name in ("path", "original"):
            values = [moved(path or "") for path in table[name].to_pylist()]
            table = table.set_column(index, name, pa.array(values, pa.string()))
    return table if "source" in table.column_names else table.append_column("source", manifest.table["path"])


def _with_identity(table: pa.Table) -> pa.Table:
    if "identity" in table.column_names:
        return table
    return table.append_column("identity", pa.array(identities_from_folders(table["path"].to_pylist()), pa.string()))


def names_in(manifest: Manifest, names: list[str]) -> list[str]:
    """Return the names of images in a file as the manifest has them, in the reading that fits most images.

    Args:
        manifest: Images.
        names: Paths relative to the manifest's folder, or with that folder's name before them, or paths that lead to
            the images.
    """
    root = os.path.abspath(manifest.root)
    top = f"{name_of(manifest.root)}/"
    readings = (
        names,
        [name.removeprefix(top) for name in names],
        [os.path.abspath(name).removeprefix(f"{root}{os.sep}").replace(os.sep, "/") for name in names],
    )
    known = set(manifest.paths)
    return max(readings, key=lambda found: len(known & set(found)))


def name_of(folder: Path) -> str:
    """Return a folder's name, of `.` too."""
    return os.path.basename(os.path.abspath(folder))


def check_labels_path(path: Path) -> None:
    """Fail before the work, not after it, when `write_labels` could not write there.

    Raises:
        InputError: The file's ending is another than .csv, .parquet and .pkl, or the folder cannot be made or written.
        OutputError: The disk is full.
    """
    if not is_pickle(path):
        check_table_path(path)
    else:
        make_folder(path.parent)


def write_labels(manifest: Manifest, table: pa.Table, name: str, path: Path) -> None:
    """Write a labelled manifest, whole or not at all.

    A pickle has only the labels, `{path: label}`, by the names that the images have in the manifest: the published
    repositories put their folder of images before them.

    Args:
        manifest: Images.
        table: What to write of them, see `table_for`.
        name: Column of the labels.
        path: `.csv`, `.parquet` or `.pkl`.

    Raises:
        InputError: The file cannot be written there.
        OutputError: The disk is full.
    """
    if is_pickle(path):
        write_scores(path, manifest.paths, table[name].to_pylist())
    else:
        write_table(table, path)
