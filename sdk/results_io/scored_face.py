"""The result of scoring a file: a row of every table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdk.results import Measure, Reason


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
        quality: 0 to 100; None where the scorer has no calibration, or one without a curve.
        accepted: Whether the score reaches the scorer's threshold; None where it has none.
        measures: Properties of the picture by name; None where the scorer gives no reasons.
        reasons: What is wrong with the picture, the worst first; None where the scorer gives no reasons.
    """

    path: Path
    face: int | None = None
    score: float | None = None
    box: tuple[float, float, float, float] | None = None
    confidence: float | None = None
    landmarks: NDArray[np.float32] | None = field(default=None, repr=False)
    error: str = ""
    thumbnail: bytes = field(default=b"", repr=False)
    quality: int | None = None
    accepted: bool | None = None
    measures: Mapping[str, Measure] | None = field(default=None, repr=False)
    reasons: tuple[Reason, ...] | None = None
