"""Photos with all of their faces, to train a detector on.

Landmarks are known of one face a photo. The teacher, another detector, finds the faces in the background. Its doubtful
finds are ignored in the loss.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdk.commands.console import progress_bar
from sdk.detection.face_detector import FaceDetector
from sdk.errors import ImageError, InputError
from sdk.images.decoding import load_image
from sdk.parallel import bounded_map
from sdk.text import shortened
from train.data.embeddings import read_by_name
from train.data.manifest import Manifest, read_manifest, write_table

logger = logging.getLogger(__name__)

DOUBTFUL = 0.3
"""Confidence of the teacher from which a find may be a face: it is doubtful."""

CERTAIN = 0.8
"""Confidence of the teacher from which a find is a face."""

SAME = 0.4
"""Share of the smaller box from which two boxes are one face."""

Rows = NDArray[np.float32]
"""(N, 15): box x, y, width, height; five landmarks x, y; confidence. All but the last in pixels."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo.

    Attributes:
        path: The file.
        faces: See `Rows`; those below `CERTAIN` are doubtful.
    """

    path: Path
    faces: Rows


def find_faces(manifest: Manifest, known: Path | None, teacher: str, out: Path) -> Path:
    """Look for the faces of all photos, and write the manifest with a column `faces`: their rows one after the other.

    Args:
        manifest: Of photos.
        known: `.npz` with `names` (paths in the manifest), `box_xywh` (N, 4) and `landmarks` (N, 5, 2) of one face a
            photo, which are kept in place of what the teacher finds there; None where nothing is known.
        teacher: A detector, as `sdk.FaceDetector` takes it.
        out: Parquet file to write; where it exists already, nothing is done.

    Raises:
        InputError: `known` has none of the photos, or none can be read.
        ModelError: The teacher cannot be loaded.
    """
    if out.exists():
        logger.info("%s is there already", out)
        return out
    first = {} if known is None else _known_faces(known)
    paths = manifest.paths
    if first and not any(path in first for path in paths):
        raise InputError(f"{known} has landmarks of none of the photos, first {paths[0]!r}")
    look = partial(_faces_in, FaceDetector(teacher, min_confidence=DOUBTFUL), manifest.root, first)
    column = []
    with ThreadPoolExecutor(2) as pool, progress_bar("photos", len(paths)) as advance:
        for rows in bounded_map(pool, look, paths, 8):
            column.append(rows)
            advance(1)
    read = [row for row, found in enumerate(column) if found is not None]
    if not read:
        raise InputError(f"no photo of {manifest.root} could be read; see the log for each one's reason")
    if len(read) < len(paths):
        logger.warning("%d of %d photos could not be read and are left out", len(paths) - len(read), len(paths))
    values = pa.array([column[row] for row in read], pa.list_(pa.float32()))
    table = manifest.select(read).table.append_column("faces", values)
    write_table(table.append_column("root", pa.array([str(manifest.root.resolve())] * len(read))), out)
    return out


def _faces_in(detector: FaceDetector, root: Path, known: dict[str, Rows], path: str) -> list[float] | None:
    """Find the faces of a photo, the known one first, and return their rows one after the other.

    Returns:
        None where the photo cannot be read.
    """
    try:
        faces = detector.detect(load_image(root / path))
    except ImageError as error:
        logger.warning("left out: %s", error)
        return None
    found = [[*face.box, *face.landmarks.reshape(-1).tolist(), face.confidence] for face in faces]
    rows = np.array(found, np.float32).reshape(-1, 15)
    if path in known:
        rows = np.concatenate([known[path], rows[overlaps(rows, known[path]).max(1, initial=0) < SAME]])
    values: list[float] = rows.reshape(-1).tolist()
    return values


def read_photos(path: Path) -> tuple[list[Photo], list[str]]:
    """Read the photos that `find_faces` wrote, and the person of each."""
    manifest = read_manifest(path)
    columns = zip(manifest.column("root"), manifest.paths, manifest.column("faces"), strict=True)
    try:
        photos = [
            Photo(Path(root) / name, np.array(faces, np.float32).reshape(-1, 15)) for root, name, faces in columns
        ]
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({shortened(error)}); delete it to start anew") from error
    return photos, manifest.identities


def overlaps(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the area that two boxes share, as a share of the smaller one: (N, M).

    Args:
        a: (N, 4 or more): x, y, width, height.
        b: (M, 4 or more).
    """
    near = np.maximum(a[:, None, :2], b[None, :, :2])
    far = np.minimum(a[:, None, :2] + a[:, None, 2:4], b[None, :, :2] + b[None, :, 2:4])
    shared = np.clip(far - near, 0, None).prod(-1)
    smaller = np.minimum(a[:, None, 2:4].prod(-1), b[None, :, 2:4].prod(-1))
    return shared / np.maximum(smaller, 1e-9)


def _known_faces(path: Path) -> dict[str, Rows]:
    names, found = read_by_name(path, {"box_xywh": (4,), "landmarks": (5, 2)})
    parts = found["box_xywh"], found["landmarks"].reshape(-1, 10), np.ones((len(names), 1))
    rows = np.concatenate(parts, 1).astype(np.float32)
    return {name: row[None] for name, row in zip(names, rows, strict=True) if np.isfinite(row).all()}
