"""Photos with all of their faces, to train a detector on.

The teacher, another detector, finds them. Its doubtful finds are ignored in the loss. Where landmarks of one face a
photo are known, they are taken in place of the teacher's.
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
from train.data.manifest import Manifest, read_manifest, write_table

logger = logging.getLogger(__name__)

DOUBTFUL = 0.3
"""Confidence of the teacher from which a find may be a face: it is doubtful."""

CERTAIN = 0.8
"""Confidence of the teacher from which a find is a face."""

NEAR = 0.3
"""A find is the known face where its landmarks are nearer than this on average, as a share of the find's width."""

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


def find_faces(manifest: Manifest, teacher: str, out: Path) -> Path:
    """Look for the faces of all photos, and write the manifest with a column `faces`: their rows one after the other.

    The known face of a photo comes first. A photo in which the teacher does not find it is left out.

    Args:
        manifest: Of photos; `landmarks` of one face a photo where they are known.
        teacher: A detector, as `sdk.FaceDetector` takes it.
        out: Parquet file to write; where it exists already, nothing is done.

    Raises:
        InputError: No photo can be used.
        ModelError: The teacher cannot be loaded.
    """
    if out.exists():
        logger.info("%s is there already", out)
        return out
    look = partial(_faces_of, FaceDetector(teacher, min_confidence=DOUBTFUL), manifest)
    column: list[Rows | None] = []
    with ThreadPoolExecutor() as pool, progress_bar("photos", len(manifest)) as advance:
        for rows in bounded_map(pool, look, range(len(manifest)), 8):
            column.append(rows)
            advance(1)
    found = {row: rows for row, rows in enumerate(column) if rows is not None}
    if not found:
        raise InputError(f"no photo of {manifest.root} can be used; see the log for each one's reason")
    if len(found) < len(manifest):
        logger.warning("%d of %d photos are left out", len(manifest) - len(found), len(manifest))
    values = pa.array([rows.reshape(-1).tolist() for rows in found.values()], pa.list_(pa.float32()))
    table = manifest.select(list(found)).table.append_column("faces", values)
    write_table(table.append_column("root", pa.array([str(manifest.root.resolve())] * len(found))), out)
    return out


def _faces_of(detector: FaceDetector, manifest: Manifest, row: int) -> Rows | None:
    """Find the faces of a photo, the known one first.

    Returns:
        None where the photo cannot be read, or its known face is not found.
    """
    path = manifest.root / manifest.paths[row]
    try:
        known, faces = manifest.landmarks(row), detector.detect(load_image(path))
    except ImageError as error:
        logger.warning("left out: %s", error)
        return None
    rows = np.array(
        [[*face.box, *face.landmarks.reshape(-1).tolist(), face.confidence] for face in faces], np.float32
    ).reshape(-1, 15)
    if known is None:
        return rows
    place = known_face(rows, known)
    if place is None:
        logger.debug("left out: %s does not find the known face of %s", detector, path)
        return None
    rows[place, 4:14], rows[place, 14] = known.reshape(-1), 1
    return np.concatenate([rows[place : place + 1], np.delete(rows, place, 0)])


def known_face(rows: Rows, landmarks: NDArray[np.floating]) -> int | None:
    """Return which find is the face with these landmarks (5, 2); None where none is."""
    if not len(rows):
        return None
    apart = np.linalg.norm(rows[:, 4:14].reshape(-1, 5, 2) - landmarks, axis=2).mean(1) / rows[:, 2]
    return int(apart.argmin()) if apart.min() < NEAR else None


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
