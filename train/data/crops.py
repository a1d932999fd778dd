"""Crops: names that no two images of a manifest share, and the share that lies outside the image."""

import unicodedata
import zlib
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from numpy.typing import ArrayLike

from sdk.alignment import CROP_SIZE, similarity_transform

_LONGEST = 180
"""Bytes of a crop's name without what is added to it; file systems take 255."""


def crop_stems(paths: Sequence[str], folders: Sequence[str], marks: Sequence[Sequence[str]]) -> list[str]:
    """Name each image's crops: by the image, and with `~2`, `~3`, ... where a name is taken.

    Names that differ in case alone, or in how their letters are composed, are one on many file systems, and one here;
    so are folders that differ in dots or blanks at the end, which are one on Windows.
    Names are given in the order of the paths, so that they do not depend on the order of the rows.

    Args:
        paths: Of the images.
        folders: Where each one's crops are put.
        marks: Endings of the names of each image's crops, `""`, `"-1"`, ...

    Returns:
        A name an image, without its suffix.
    """
    taken: set[tuple[str, str]] = set()
    stems = [""] * len(paths)
    for row in sorted(range(len(paths)), key=lambda row: paths[row]):
        folder, first = _folded(folders[row]).rstrip(". "), _short(PurePath(paths[row]).stem)
        stem, number = first, 1
        while taken & (names := {(folder, _folded(stem + mark)) for mark in marks[row]}):
            number += 1
            stem = f"{first}~{number}"
        taken |= names
        stems[row] = stem
    return stems


def share_outside(landmarks: ArrayLike, height: int, width: int) -> float:
    """Return the share of an aligned crop's pixels, 0 to 1, that lie outside the image it is cut from.

    Args:
        landmarks: (5, 2) in pixels of the image.
        height: Of the image, pixels.
        width: Of the image, pixels.

    Raises:
        ImageError: The landmarks make no face.
    """
    matrix = similarity_transform(landmarks)
    crop = np.indices((CROP_SIZE, CROP_SIZE)).reshape(2, -1)[::-1]
    x, y = np.linalg.solve(matrix[:, :2], crop - matrix[:, 2:])
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return float(1 - inside.mean())


def picture_edge(landmarks: ArrayLike, height: int, width: int) -> list[float]:
    """Return the corners of an image in pixels of the aligned crop: x1 y1 ... x4 y4, to a hundredth.

    Args:
        landmarks: (5, 2) in pixels of the image.
        height: Of the image, pixels.
        width: Of the image, pixels.

    Raises:
        ImageError: The landmarks make no face.
    """
    matrix = similarity_transform(landmarks)
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)]) - 0.5
    return [round(float(value), 2) for value in (corners @ matrix[:, :2].T + matrix[:, 2]).ravel()]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _short(stem: str) -> str:
    data = stem.encode()
    if len(data) <= _LONGEST:
        return stem
    return f"{data[:_LONGEST].decode(errors='ignore')}~{zlib.crc32(data):08x}"
