"""Scores of many files, several in flight, in the order given."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.errors import ImageError
from sdk.images import load_image
from sdk.parallel import bounded_map
from sdk.scorer import QualityScorer

NO_FACE = "no face found"

THUMBNAIL_QUALITY = 88
"""JPEG quality of thumbnails; about 5 kB each."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredFace:
    """One face of one file, or the reason why the file has none.

    Attributes:
        path: The file.
        face: Index of the face in the file, largest first; None without a face.
        score: Quality; None without a face.
        box: x, y, width, height in pixels; None for a file that is an aligned crop itself.
        confidence: The detector's, in [0, 1].
        landmarks: (5, 2) points x, y in pixels.
        error: Why the file could not be scored; empty where it was.
        thumbnail: JPEG of the aligned face, where thumbnails were wanted.
    """

    path: Path
    face: int | None = None
    score: float | None = None
    box: tuple[float, float, float, float] | None = None
    confidence: float | None = None
    landmarks: NDArray[np.float32] | None = None
    error: str = ""
    thumbnail: bytes = b""


def score_files(
    scorer: QualityScorer, paths: Sequence[Path], *, aligned: bool = False, thumbnails: bool = False
) -> Iterator[list[ScoredFace]]:
    """Score files on as many threads as the scorer has.

    Args:
        scorer: Made and closed by the caller.
        paths: Image files.
        aligned: Each file is an aligned crop of 112 x 112; otherwise faces are detected.
        thumbnails: Keep a picture of every face.

    Yields:
        For each file, in the order given, its faces, or one row that holds an error.

    Raises:
        ModelError: The detector's model cannot be had.
    """
    work = _score_crop if aligned else _score_photo
    with ThreadPoolExecutor(scorer.threads, thread_name_prefix="fiqa-files") as pool:
        yield from bounded_map(pool, lambda path: work(scorer, path, thumbnails), paths, 2 * scorer.threads + 1)


def _score_crop(scorer: QualityScorer, path: Path, thumbnails: bool) -> list[ScoredFace]:
    try:
        crop = load_image(path)
        return [ScoredFace(path, 0, scorer.score(crop), thumbnail=_jpeg(crop) if thumbnails else b"")]
    except ImageError as error:
        return [_failed(path, error)]


def _score_photo(scorer: QualityScorer, path: Path, thumbnails: bool) -> list[ScoredFace]:
    try:
        faces = scorer.assess(path)
    except ImageError as error:
        return [_failed(path, error)]
    return [
        ScoredFace(
            path,
            index,
            face.score,
            face.box,
            face.confidence,
            face.landmarks,
            thumbnail=_jpeg(face.crop) if thumbnails else b"",
        )
        for index, face in enumerate(faces)
    ] or [ScoredFace(path, error=NO_FACE)]


def _failed(path: Path, error: ImageError) -> ScoredFace:
    return ScoredFace(path, error=str(error).removeprefix(f"{path}: "))


def _jpeg(crop: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".jpg", crop, (cv2.IMWRITE_JPEG_QUALITY, THUMBNAIL_QUALITY))
    return data.tobytes()
