"""Clean crops of people with landmarks, read once: the faces that are damaged in training."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdk.alignment import align
from sdk.commands.console import progress_bar
from sdk.errors import ImageError, InputError
from sdk.parallel import bounded_map
from train.data.crops import picture_edge, share_outside
from train.data.manifest import Manifest

logger = logging.getLogger(__name__)

DEPTH = 0.6
"""How far the tip of the nose stands before the eyes, in distances between the eyes; a mean of people."""


@dataclass(frozen=True, slots=True)
class CleanFaces:
    """Aligned crops, which repeat the picture's edge.

    Attributes:
        crops: uint8 BGR (N, 112, 112, 3).
        edges: The picture's corners (4, 2) in each crop that reaches beyond it, by row; see `blacken`.
        yaws: float32 (N,), in quarter turns: by the landmarks, and 1 for profiles.
    """

    crops: NDArray[np.uint8]
    edges: dict[int, NDArray[np.float64]]
    yaws: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.crops)


def yaw_of(landmarks: ArrayLike) -> float:
    """Return how far a head is turned by its landmarks, in quarter turns, 0 to 1.

    The tip of the nose stands before the eyes. In a turned head it moves sideways, and the eyes come closer.
    """
    left, right, nose = np.asarray(landmarks, np.float64)[:3]
    across = right - left
    aside = np.dot(nose - (left + right) / 2, across) / max(float(np.dot(across, across)), 1e-9)
    return float(np.arctan(abs(aside) / DEPTH) / (np.pi / 2))


def read_faces(manifest: Manifest, rows: Sequence[int], profiles: str) -> CleanFaces:
    """Read and align the faces of some rows; what cannot be read is logged and left out.

    Args:
        manifest: Images with landmarks and a column `source`.
        rows: Which of them.
        profiles: Pattern of the names of profiles, for example `*/profile_*`: their landmarks are guesses.

    Raises:
        InputError: None can be read.
    """
    names = manifest.column("source")

    def read(row: int) -> tuple[NDArray[np.uint8], list[float], float] | None:
        try:
            image, landmarks = manifest.load_image(row)
            if landmarks is None:
                raise ImageError(f"{names[row]} has no landmarks")
            outside = share_outside(landmarks, *image.shape[:2])
            edge = picture_edge(landmarks, *image.shape[:2]) if outside else []
            yaw = 1.0 if fnmatch(names[row], profiles) else yaw_of(landmarks)
            return align(image, landmarks, border="replicate"), edge, yaw
        except ImageError as error:
            logger.warning("left out: %s", error)
            return None

    found = []
    with ThreadPoolExecutor(2) as pool, progress_bar("faces", len(rows)) as advance:
        for one in bounded_map(pool, read, rows, 64):
            if one is not None:
                found.append(one)
            advance(1)
    if not found:
        raise InputError(f"no face of {manifest.root} can be read; wanted images with landmarks, see the log")
    edges = {row: np.array(edge).reshape(4, 2) for row, (_, edge, _) in enumerate(found) if edge}
    return CleanFaces(np.stack([face for face, _, _ in found]), edges, np.array([yaw for *_, yaw in found], np.float32))
