"""Landmarks in a file beside the images: an `.npz`, a pickle, or a table.

- `.npz`: `names` (N,) and `landmarks` (N, 5, 2).
- `.pkl`: `{path: landmarks}`, or as AI-KD's `{path: (box, landmarks)}`.
- Table, CSV or Parquet: the image in a column `path` or `file`; its landmarks in a column `landmarks`, as in a
  manifest, or in the ten columns `COLUMNS`. Further columns may name the people. A table of `fiqa score` has a column
  `face` and a row a face: the row of face 0, the largest one, is taken.

Landmarks are in pixels of the image; the left eye is the one that is left in the image. An image's name is its path
relative to the folder of images, or begins with that folder's name, or is a path that leads to the image.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sdk.errors import InputError
from sdk.text import shortened
from train.data.embeddings import read_by_name
from train.data.identities import check_identity
from train.data.manifest import Manifest, make_manifest, names_in
from train.data.pickles.published import is_pickle, read_landmarks
from train.data.tables import numbers, read_table, where

logger = logging.getLogger(__name__)

COLUMNS = tuple(f"{point}_{axis}" for point in ("leye", "reye", "nose", "lmouth", "rmouth") for axis in "xy")
"""Columns of landmarks: left eye, right eye, nose, left and right mouth corner, as seen in the image."""

Row = dict[str, Any]
"""What a file says of an image: `landmarks`, and `identity` where it names people."""


def with_landmarks(manifest: Manifest, path: Path, identity: str | None = None) -> Manifest:
    """Keep the images that a file has landmarks of, with a column `landmarks`.

    Args:
        manifest: Images.
        path: The file, see `train.data.sources.landmarks`.
        identity: Column of a table that names the person, instead of the manifest.

    Raises:
        InputError: The file cannot be read, is not of these kinds, has an image twice or none of the images, or has a
            name that cannot be a person's; names the row.
    """
    table = path.suffix.lower() in (".csv", ".parquet")
    names, found = _read_table(path, identity) if table else _read_arrays(path, identity)
    known = dict(zip(names_in(manifest, names), found, strict=True))
    rows = [{**row, **known[row["path"]]} for row in manifest.table.to_pylist() if known.get(row["path"])]
    if not rows:
        first = f"; its first name is {shortened(names[0])!r}" if names else ""
        raise InputError(f"{path} has landmarks of none of the images, first {manifest.paths[0]!r}{first}")
    if len(rows) < len(manifest):
        logger.warning("%d images have no landmarks in %s and are left out", len(manifest) - len(rows), path)
    return make_manifest(rows, manifest.root)


def _read_arrays(path: Path, identity: str | None) -> tuple[list[str], list[Row]]:
    if identity is not None:
        raise InputError(f"{path} is no table, so it has no column {identity!r}; give a .csv or .parquet")
    if is_pickle(path):
        names, landmarks = read_landmarks(path)
    else:
        names, found = read_by_name(path, {"landmarks": (5, 2)})
        landmarks = found["landmarks"].reshape(-1, 10).tolist()
    return names, [{"landmarks": points} for points in landmarks]


def _read_table(path: Path, identity: str | None) -> tuple[list[str], list[Row]]:
    """Return the names of a table's images, and what it says of each; nothing where an image has no landmarks."""
    table = read_table(path, {"file", *([identity] if identity else [])})
    columns = table.column_names
    column = next((name for name in ("path", "file") if name in columns), None)
    if column is None:
        raise InputError(f"{path} has no column 'path' or 'file', only {shortened(', '.join(columns))}")
    if "face" in columns:
        table = table.filter(pa.array(~(numbers(table, "face") > 0)))  # an image without a face has an empty field
    names = table[column].to_pylist()
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{path} names {shortened(twice[0])!r} more than once, wanted one row an image")
    found = [{"landmarks": points} if points else {} for points in _points(table, path)]
    if identity is None:
        return names, found
    people = _people(table, identity, path)
    return names, [row and {**row, "identity": person} for row, person in zip(found, people, strict=True)]


def _points(table: pa.Table, path: Path) -> Sequence[Any]:
    """Return the landmarks of each row, as a manifest's column has them; empty where a row has none."""
    if "landmarks" in table.column_names:
        return [value.strip() if isinstance(value, str) else value for value in table["landmarks"].to_pylist()]
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise InputError(
            f"{path} lacks {shortened(', '.join(missing))}; wanted a column 'landmarks', or {', '.join(COLUMNS)}"
        )
    try:
        points = np.stack([numbers(table, name) for name in COLUMNS], axis=1)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if (points[:, 0] > points[:, 2]).mean() > 0.5:
        raise InputError(
            f"{path} has leye right of reye in most rows, wanted the eye that is left in the image as leye; "
            "exchange the columns of left and right, mouth corners too"
        )
    return [None if np.isnan(row).all() else row.tolist() for row in points]


def _people(table: pa.Table, identity: str, path: Path) -> list[str]:
    if identity not in table.column_names:
        raise InputError(f"{path} has no column {identity!r}, only {shortened(', '.join(table.column_names))}")
    people = table[identity].to_pylist()
    for row, person in enumerate(people):
        if why := check_identity(person):
            raise InputError(f"the {identity} in {where(table, row)} of {path} {why}; correct it, or drop the row")
    return people
