"""Labels of photos whose landmarks are in another file, such as AI-KD's two pickles, as one manifest."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdk.errors import InputError
from train.data.manifest import Manifest, names_in
from train.data.sources.source import Source, read_source

logger = logging.getLogger(__name__)


def with_photos(labels: Manifest, path: Path, sources: Sequence[Source]) -> tuple[Manifest, NDArray[np.bool_]]:
    """Find the photos and the landmarks of labels by their names, see `train.data.manifest.names_in`.

    The log says how many labels have no photo or no landmarks, and how many photos with landmarks have no label.

    Args:
        labels: A row a photo.
        path: File of the labels, for messages.
        sources: The folder of photos with its file of landmarks.

    Returns:
        The labels, with paths in the folder of photos and a column `landmarks`; and bool (N,), true for the rows that
        have a photo with landmarks.

    Raises:
        InputError: There are several sources, landmarks are missing, or no label has a photo with landmarks.
    """
    source = sources[0]
    if len(sources) > 1:
        raise InputError(
            f"{path} has no column 'source', so nothing says which of {len(sources)} folders an image is in; "
            "give --images once"
        )
    if source.landmarks is None:
        raise InputError(f"nothing says where the faces in {source.source} are; give --landmarks")
    photos = read_source(source)
    names = names_in(photos, labels.paths)
    rows = {name: row for row, name in enumerate(photos.paths)}
    places = np.array([rows.get(name, -1) for name in names])
    found = places >= 0
    _tell_what_is_missing(path, source, photos, names, found)
    points = photos.table["landmarks"].combine_chunks().take(pa.array(places, mask=~found))
    table = labels.table.drop_columns([name for name in ("path", "landmarks") if name in labels.table.column_names])
    table = table.append_column("path", pa.array(names, pa.string())).append_column("landmarks", points)
    return Manifest(table, photos.root), found


def _tell_what_is_missing(
    path: Path, source: Source, photos: Manifest, names: Sequence[str], found: NDArray[np.bool_]
) -> None:
    lacking = [name for name, here in zip(names, found, strict=True) if not here]
    absent = {name for name in lacking if not (photos.root / name).exists()}
    groups = {
        f"not in {photos.root}": [name for name in lacking if name in absent],
        f"without landmarks in {source.landmarks}": [name for name in lacking if name not in absent],
    }
    why = "; ".join(f"{len(group)} {what}, first {group[0]!r}" for what, group in groups.items() if group)
    if not found.any():
        raise InputError(
            f"no image of {path} can be trained on: {why}; the first image with landmarks is {photos.paths[0]!r}; "
            "wanted the same names in the labels, in the landmarks and below --images"
        )
    if lacking:
        logger.warning("%d of %d labelled images are left out: %s", len(lacking), len(names), why)
    labelled = set(names)
    if unused := [name for name in photos.paths if name not in labelled]:
        logger.warning("%d images have no label in %s and are left out, first %r", len(unused), path, unused[0])
