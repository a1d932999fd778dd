"""Embeddings on disk, and their sums over people."""

from pathlib import Path
from typing import Any

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
        InputError: There are more or fewer rows than the manifest has.
    """
    vectors: NDArray[np.float32] = np.load(path, mmap_mode="r")
    if len(vectors) != len(manifest):
        raise InputError(f"{path} has {len(vectors)} rows and {source} {len(manifest)}, wanted equally many")
    return vectors


def class_sums(
    embeddings: NDArray[np.floating[Any]], codes: NDArray[np.integer[Any]], classes: int
) -> NDArray[np.float64]:
    """Sum of the raw embeddings (N, D) of each class, (C, D), for codes (N,) in 0 .. C - 1."""
    sums = np.zeros((classes, embeddings.shape[1]))
    np.add.at(sums, codes, embeddings.astype(np.float64))
    return sums
