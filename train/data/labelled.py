"""Rows of a labelled manifest that a network can be trained on, with what methods need."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError
from train.data.embeddings import open_embeddings
from train.data.label_targets import label_column
from train.data.manifest import Manifest, read_manifest
from train.data.sources.labelled_photos import with_photos
from train.data.sources.source import Source

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LabelledFaces:
    """Some rows of a labelled manifest.

    Attributes:
        manifest: All images.
        rows: int64 (M,) rows of the manifest.
        labels: float64 (M,).
        identities: str (M,).
        clean: bool (M,), not damaged copies.
        split: str (M,): `train` or `validation`.
        vectors: Embeddings (N, D) of all rows of the manifest, read as they are used; None where there are none.
    """

    manifest: Manifest
    rows: NDArray[np.int64]
    labels: NDArray[np.float64]
    identities: NDArray[np.str_]
    clean: NDArray[np.bool_]
    split: NDArray[np.str_]
    vectors: NDArray[np.floating[Any]] | None

    @property
    def teacher(self) -> NDArray[np.floating[Any]]:
        """`vectors`, which must be there.

        Raises:
            InputError: There are none.
        """
        if self.vectors is None:
            raise InputError("this recipe needs the embeddings of the images; give --embeddings")
        return self.vectors

    @property
    def embeddings(self) -> NDArray[np.floating[Any]]:
        """Embeddings (M, D) of the rows, read from disk."""
        return np.asarray(self.teacher[self.rows])

    def keep(self, kept: NDArray[np.integer[Any]]) -> "LabelledFaces":
        """Return the rows at these places, 0 .. M - 1."""
        columns = ("rows", "labels", "identities", "clean", "split")
        return replace(self, **{name: getattr(self, name)[kept] for name in columns})

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values of the rows (M, ...) as an array over all rows of the manifest, 0 elsewhere."""
        result = np.zeros((len(self.manifest), *values.shape[1:]), values.dtype)
        result[self.rows] = values
        return result


def read_labelled(
    source: Path, label: str, embeddings: Path | None = None, sources: Sequence[Source] = ()
) -> LabelledFaces:
    """Read the rows that have a label.

    Args:
        source: Labelled manifest, as `fiqa-train label` writes it. A column `split` divides it into `train` and
            `validation`, other values are left out; a column `degradation` marks damaged copies.
        label: Column of the labels, or several, see `train.data.label_targets.label_column`; rows without one are left
            out.
        embeddings: `.npy`, a row a row of the manifest.
        sources: Where the manifest has no column `source`: the folder that its images are in, with their landmarks, see
            `train.data.sources.labelled_photos.with_photos`; images that lack either are left out.

    Raises:
        InputError: There is no such column, no row is left, or an image that is left has no embedding.
    """
    manifest = read_manifest(source)
    there = np.ones(len(manifest), bool)
    if sources and "source" not in manifest.table.column_names:
        manifest, there = with_photos(manifest, source, sources)
    vectors = None if embeddings is None else open_embeddings(embeddings, manifest, source)
    has = manifest.table.column_names
    split = np.array(manifest.column("split") if "split" in has else ["train"] * len(manifest))
    damage = manifest.column("degradation") if "degradation" in has else [""] * len(manifest)
    values = label_column(manifest, label)
    wanted = np.isin(split, ("train", "validation")) & there
    rows = np.flatnonzero(wanted & ~np.isnan(values))
    if len(rows) == 0:
        raise InputError(f"{source} has no row with a {label} label to train on; see its column 'error'")
    if len(rows) < wanted.sum():
        logger.warning("%d images have no %s label and are left out", wanted.sum() - len(rows), label)
    if vectors is not None:
        missing = rows[~np.isfinite(vectors[rows]).all(axis=1)]
        if len(missing):
            raise InputError(
                f"{len(missing)} labelled images have no embedding in {embeddings}, first "
                f"{manifest.paths[missing[0]]!r}; label them again with --embeddings, or drop these rows"
            )
    identities, clean = np.array(manifest.identities, dtype=str), np.array([not value for value in damage])
    return LabelledFaces(manifest, rows, values[rows], identities[rows], clean[rows], split[rows], vectors)
