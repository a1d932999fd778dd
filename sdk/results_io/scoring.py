"""Scores of many files, several in flight, in the order given."""

import logging
import math
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.alignment import CROP_SIZE, align
from sdk.errors import ImageError, ScoreError
from sdk.images.decoding import MAX_BYTES, MAX_PIXELS, load_image
from sdk.parallel import bounded_map
from sdk.scorer import QualityScorer

Item = TypeVar("Item")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)

NO_FACE = "no face found"
NO_NUMBER = "the model gives no number for this face; try it in fp32, and check its file (fiqa models verify)"
NO_MEMORY = "not enough memory for this picture; make it smaller, or take fewer --threads"

THREADS = "fiqa-files"
"""What the names of the threads begin with that work on files."""

THUMBNAIL_QUALITY = 88
"""JPEG quality of thumbnails; about 5 kB each."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredFace:
    """One face of one file, or the reason why the file has none.

    Attributes:
        path: The file.
        face: Index of the face in the file, largest first; None without a face.
        score: Quality; None without a face, and where the model gives no number.
        box: x, y, width, height in pixels; None for a file that is an aligned crop itself.
        confidence: The detector's, in [0, 1].
        landmarks: (5, 2) points x, y in pixels.
        error: Why the file, or this face, has no score; empty where there is one.
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
    scorer: QualityScorer,
    paths: Iterable[Path],
    *,
    aligned: bool = False,
    thumbnails: bool = False,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> Generator[list[ScoredFace], None, None]:
    """Score files on as many threads as the scorer has.

    Args:
        scorer: Made and closed by the caller.
        paths: Image files; they are taken one by one, as they are scored.
        aligned: Each file is an aligned crop of 112 x 112; otherwise faces are detected.
        thumbnails: Make a picture of every face.
        max_pixels: Largest crop, width x height; the scorer has its own limit for photos.
        max_bytes: Largest file of a crop.

    Yields:
        For each file, in the order given, its faces, or one row that holds an error. A caller who stops does not wait
        for the files in work.

    Raises:
        ModelError: The detector's model cannot be had.
    """

    def score_crop(path: Path) -> list[ScoredFace]:
        crop = load_image(path, max_pixels=max_pixels, max_bytes=max_bytes)
        try:
            score = scorer.score(crop)
        except ScoreError:
            score = math.nan
        return [ScoredFace(path, 0, score, thumbnail=_jpeg(crop) if thumbnails else b"")]

    def score_photo(path: Path) -> list[ScoredFace]:
        try:
            faces = scorer.assess(path)
        except ScoreError as error:
            faces = error.faces
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
        ]

    work = score_crop if aligned else score_photo
    return map_files(scorer.threads, lambda path: _rows(work, path), paths)


def map_files(threads: int, work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
    """Work on files on several threads, in order; a caller who stops does not wait for those in work."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix=THREADS)
    try:
        yield from bounded_map(pool, work, items, 2 * threads + 1)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def cut_picture(path: Path, face: ScoredFace, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> bytes:
    """Make the picture of a face that was scored before; empty where its file cannot be read any more.

    Args:
        path: The file.
        face: Its landmarks say where the face is; without them the file is the crop.
        max_pixels: Largest image, width x height.
        max_bytes: Largest file.
    """
    try:
        pixels = load_image(path, max_pixels=max_pixels, max_bytes=max_bytes)
        crop = pixels if face.landmarks is None else align(pixels, face.landmarks)
        return _jpeg(crop) if crop.shape[:2] == (CROP_SIZE, CROP_SIZE) else b""
    except (ImageError, MemoryError) as error:
        logger.info("no picture of %s: %s", path, error)
        return b""


def _rows(work: Callable[[Path], list[ScoredFace]], path: Path) -> list[ScoredFace]:
    try:
        return [_scored(face) for face in work(path)] or [ScoredFace(path, error=NO_FACE)]
    except ImageError as error:
        return [_failed(path, error)]
    except MemoryError:
        return [ScoredFace(path, error=NO_MEMORY)]


def _scored(face: ScoredFace) -> ScoredFace:
    """Make a face without a number one with an error."""
    good = face.score is not None and math.isfinite(face.score)
    return face if good else replace(face, score=None, error=NO_NUMBER)


def _failed(path: Path, error: ImageError) -> ScoredFace:
    return ScoredFace(path, error=str(error).removeprefix(f"{path}: "))


def _jpeg(crop: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".jpg", crop, (cv2.IMWRITE_JPEG_QUALITY, THUMBNAIL_QUALITY))
    return data.tobytes()
