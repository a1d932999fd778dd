"""Score many files on several threads, in the order given."""

import logging
import math
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.alignment import CROP_SIZE, align
from sdk.errors import ImageError, ScoreError
from sdk.images.decoding import load_image
from sdk.images.folders import find_images
from sdk.parallel import bounded_map
from sdk.results_io.scored_face import ScoredFace
from sdk.scorer import QualityScorer

Item = TypeVar("Item")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)

NO_FACE = "no face found"
NO_NUMBER = "the model gives no number for this face; try it in fp32, and check its file (fiqa models verify)"
NO_MEMORY = "not enough memory for this picture; make it smaller, or use fewer --threads"

THREADS = "fiqa-files"
"""Start of the names of the threads that work on files."""

THUMBNAIL_QUALITY = 88
"""JPEG quality of thumbnails; about 5 kB each."""


def score_files(
    scorer: QualityScorer,
    paths: Iterable[str | PathLike[str]],
    *,
    aligned: bool = False,
    thumbnails: bool = False,
) -> Generator[list[ScoredFace], None, None]:
    """Score files on as many threads as the scorer has, in the order given.

    Args:
        scorer: Made and closed by the caller. Its `max_pixels` and `max_bytes` hold for every file.
        paths: Image files, and folders, which stand for all images in them and their sub-folders. They are taken one by
            one, while earlier ones are scored, so this may be a generator.
        aligned: Each file is an aligned crop of 112 x 112 pixels. Otherwise faces are detected.
        thumbnails: Make a JPEG picture of every face.

    Yields:
        For each file its faces, largest first, or one row that says why it has none. A caller who stops does not wait
        for the files in work.

    Raises:
        InputError: A folder holds no image.
        ModelError: The detector's model cannot be fetched, or the scorer is closed.
        DeviceError: The device does not survive in a forked process.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import cv2
        >>> import numpy as np
        >>> from sdk import QualityScorer, score_files
        >>> with tempfile.TemporaryDirectory() as folder, QualityScorer() as scorer:
        ...     _ = cv2.imwrite(f"{folder}/crop.png", np.zeros((112, 112, 3), np.uint8))
        ...     for faces in score_files(scorer, [folder], aligned=True):
        ...         print(faces[0].path.name, len(faces), faces[0].error == "")
        crop.png 1 True
    """
    work = _score_crop if aligned else _score_photo
    return map_files(scorer.threads, lambda path: _rows(work, scorer, path, thumbnails), _files(paths))


def map_files(threads: int, work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
    """Do work on several threads, in order; a caller who stops does not wait for what is in work."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix=THREADS)
    try:
        yield from bounded_map(pool, work, items, 2 * threads + 1)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def cut_picture(scorer: QualityScorer, path: Path, face: ScoredFace) -> bytes:
    """Return the picture of a face that was scored before; empty where its file cannot be read any more.

    Args:
        scorer: Its limits hold for the file.
        path: The file.
        face: Its landmarks say where the face is; without them the file is the crop.
    """
    try:
        pixels = load_image(path, max_pixels=scorer.max_pixels, max_bytes=scorer.max_bytes)
        crop = pixels if face.landmarks is None else align(pixels, face.landmarks)
        return _jpeg(crop) if crop.shape[:2] == (CROP_SIZE, CROP_SIZE) else b""
    except (ImageError, MemoryError) as error:
        logger.info("no picture of %s: %s", path, error)
        return b""


def _files(paths: Iterable[str | PathLike[str]]) -> Iterator[Path]:
    for path in map(Path, paths):
        if not path.is_dir():
            yield path
            continue
        found = find_images([path])
        for left in found.left_out:
            logger.warning("left out in %s: %s", path, left)
        yield from found.files


def _score_crop(scorer: QualityScorer, path: Path, thumbnails: bool) -> list[ScoredFace]:
    crop = load_image(path, max_pixels=scorer.max_pixels, max_bytes=scorer.max_bytes)
    try:
        score = scorer.score(crop)
    except ScoreError:
        score = math.nan
    quality, accepted = scorer.decide(score)
    measures = None if scorer.measurer is None else scorer.measurer.crop(crop)
    reasons = None if scorer.measurer is None or measures is None else scorer.measurer.reasons(measures)
    return [
        ScoredFace(
            path, 0, score, thumbnail=_jpeg(crop) if thumbnails else b"", quality=quality, accepted=accepted,
            measures=measures, reasons=reasons,
        )
    ]  # fmt: skip


def _score_photo(scorer: QualityScorer, path: Path, thumbnails: bool) -> list[ScoredFace]:
    try:
        faces = scorer.assess(path)
    except ScoreError as error:
        faces = error.faces
    return [
        ScoredFace(
            path, index, face.score, face.box, face.confidence, face.landmarks,
            thumbnail=_jpeg(face.crop) if thumbnails else b"", quality=face.quality, accepted=face.accepted,
            measures=face.measures, reasons=face.reasons,
        )
        for index, face in enumerate(faces)
    ]  # fmt: skip


def _rows(
    work: Callable[[QualityScorer, Path, bool], list[ScoredFace]], scorer: QualityScorer, path: Path, thumbnails: bool
) -> list[ScoredFace]:
    try:
        return [_scored(face) for face in work(scorer, path, thumbnails)] or [ScoredFace(path, error=NO_FACE)]
    except ImageError as error:
        return [_failed(path, error)]
    except MemoryError:
        return [ScoredFace(path, error=NO_MEMORY)]


def _scored(face: ScoredFace) -> ScoredFace:
    """Turn a score that is no number into an error."""
    good = face.score is not None and math.isfinite(face.score)
    return face if good else replace(face, score=None, quality=None, accepted=None, error=NO_NUMBER)


def _failed(path: Path, error: ImageError) -> ScoredFace:
    return ScoredFace(path, error=str(error).removeprefix(f"{path}: "))


def _jpeg(crop: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".jpg", crop, (cv2.IMWRITE_JPEG_QUALITY, THUMBNAIL_QUALITY))
    return data.tobytes()
