"""Embeddings on disk, and their sums over people."""

import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError
from train.data.manifest import Manifest


def open_embeddings(path: Path, manifest: Manifest, source: Path) -> NDArray[np.float32]:
    """Open the embeddings (N, D) of a manifest's rows; they are read from disk as they are used.

    Args:
        path: `.npy`, a row a row of the manifest.
        manifest: Images.
        source: The manifest's file, for the error.

    Raises:
        InputError: The file cannot be read, or there are more or fewer rows than the manifest has.
    """
    try:
        vectors: NDArray[np.float32] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as embeddings: {error}; wanted the .npy of a labelling run") from error
    if vectors.ndim != 2:
        raise InputError(f"{path} has the shape {vectors.shape}, wanted embeddings (N, D)")
    if len(vectors) != len(manifest):
        raise InputError(f"{path} has {len(vectors)} rows and {source} {len(manifest)}, wanted equally many")
    return vectors


def read_by_name(path: Path, key: str, shape: tuple[int, ...]) -> tuple[list[str], NDArray[np.floating[Any]]]:
    """Read an `.npz` with `names` and an array of as many rows.

    Args:
        path: The file.
        key: Name of the array.
        shape: Of the array's rows, -1 for any length.

    Returns:
        The names, and the array (N, *shape).

    Raises:
        InputError: The file cannot be read, or is not of this kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            names = file["names"].tolist()
            return names, file[key].reshape(len(names), *shape)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        wanted = f"{key} (N, {', '.join('D' if length < 0 else str(length) for length in shape)})"
        raise InputError(f"{path} cannot be read: {error}; wanted an .npz with names and {wanted}") from error


def read_rows(path: Path, rows: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Read some embeddings (n, D) of a `.npy` file.

    Each call maps the file anew: what has been touched counts as memory until its mapping is closed, so a loop over
    one that stays open ends with the whole file in memory.
    """
    return np.asarray(np.load(path, mmap_mode="r")[rows], np.float32)


def class_sums(
    embeddings: NDArray[np.floating[Any]], codes: NDArray[np.integer[Any]], classes: int
) -> NDArray[np.float64]:
    """Sum of the raw embeddings (N, D) of each class, (C, D), for codes (N,) in 0 .. C - 1."""
    sums = np.zeros((classes, embeddings.shape[1]))
    np.add.at(sums, codes, embeddings.astype(np.float64))
    return sums
