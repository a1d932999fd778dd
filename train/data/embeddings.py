"""Embeddings on disk, and their sums over people."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError
from sdk.files.arrays import open_npy, read_npz
from sdk.text import shortened
from train.data.manifest import Manifest, names_in
from train.data.pickles.published import is_pickle, read_vectors

_ADVICE = "wanted the .npy of a labelling run, float32 (N, D)"

_MOST = 8 << 30
"""Bytes of an archive's arrays in memory."""

_PACKED = 50
"""Largest ratio of unpacked to packed size of such an archive; one that claims more is not read."""


def open_vectors(path: Path) -> NDArray[np.floating[Any]]:
    """Open embeddings (N, D), which are read from disk as they are used.

    Raises:
        InputError: The file cannot be read, or holds something else or less than it says.
    """
    vectors = open_npy(path, ("f", (None, None)), _ADVICE)
    if vectors.shape[1] == 0:
        raise InputError(f"{path} has the shape {vectors.shape}; {_ADVICE}")
    return vectors if vectors.dtype.isnative else vectors.astype(vectors.dtype.newbyteorder("="))


def open_embeddings(path: Path, manifest: Manifest, source: Path) -> NDArray[np.floating[Any]]:
    """Open the embeddings (N, D) of a manifest's rows, NaN where a row has none.

    Args:
        path: `.npy`, a row a row of the manifest, which is read from disk as it is used; or by the images' names, see
            `names_in`: `.npz` with `names` and `embeddings`, or a pickle `{path: embedding}`.
        manifest: Images.
        source: The manifest's file, for the error.

    Raises:
        InputError: The file cannot be read, there are more or fewer rows than the manifest has, or none of its images.
    """
    if is_named(path):
        return _open_by_name(path, manifest)
    vectors = open_vectors(path)
    if len(vectors) != len(manifest):
        raise InputError(f"{path} has {len(vectors)} rows and {source} {len(manifest)}, wanted equally many")
    return vectors


def is_named(path: Path) -> bool:
    """Tell whether a file has embeddings by the names of images, and not by rows."""
    return path.suffix.lower() == ".npz" or is_pickle(path)


def _open_by_name(path: Path, manifest: Manifest) -> NDArray[np.floating[Any]]:
    if is_pickle(path):
        names, vectors = read_vectors(path)
    else:
        names, arrays = read_by_name(path, {"embeddings": (None,)})
        vectors = arrays["embeddings"]
    rows = {name: row for row, name in enumerate(names_in(manifest, names))}
    places = np.array([rows.get(name, -1) for name in manifest.paths])
    if (places < 0).all():
        first = f"; its first name is {shortened(names[0])!r}" if names else ""
        raise InputError(f"{path} has embeddings of none of the images, first {manifest.paths[0]!r}{first}")
    found = vectors.astype(np.result_type(vectors, np.float32))[places]
    found[places < 0] = np.nan
    return found


def read_by_name(
    path: Path, wanted: dict[str, tuple[int | None, ...]]
) -> tuple[list[str], dict[str, NDArray[np.floating[Any]]]]:
    """Read an `.npz` with `names` and arrays of as many rows.

    Args:
        path: The file.
        wanted: Shape of the rows of each array, None for any length.

    Returns:
        The names, and the arrays (N, *shape).

    Raises:
        InputError: The file cannot be read, is not of this kind, or has a name twice.
    """
    kinds = {name: ("fiu", (None, *shape)) for name, shape in wanted.items()}
    advice = f"wanted an .npz with names (N,) and {' and '.join(f'{name} (N, ...)' for name in wanted)}"
    try:
        most = min(_MOST, (64 << 20) + _PACKED * os.path.getsize(path))
    except (OSError, ValueError):
        most = _MOST  # read_npz says what is wrong with the file
    arrays = read_npz(path, {"names": ("U", (None,)), **kinds}, most, advice)
    names = arrays.pop("names").tolist()
    for name, array in arrays.items():
        if len(array) != len(names):
            raise InputError(f"{path} has {len(names)} names and {len(array)} {name}; {advice}")
    if len(set(names)) < len(names):
        raise InputError(f"{path} has a name twice, wanted one row an image")
    return names, {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in arrays.items()}


def read_rows(path: Path, rows: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Read some embeddings (n, D) of a `.npy` file.

    Each call maps the file anew: what has been touched counts as memory until its mapping is closed, so a loop over
    one that stays open ends with the whole file in memory.
    """
    return np.asarray(open_vectors(path)[rows], np.float32)


def class_sums(
    embeddings: NDArray[np.floating[Any]], codes: NDArray[np.integer[Any]], classes: int
) -> NDArray[np.float64]:
    """Sum of the raw embeddings (N, D) of each class, (C, D), for codes (N,) in 0 .. C - 1."""
    sums = np.zeros((classes, embeddings.shape[1]))
    np.add.at(sums, codes, embeddings.astype(np.float64))
    return sums
