"""Faces, as a detector finds them and as a scorer scores them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Measure:
    """A property of a face's picture; see docs/reasons.md for all of them.

    Attributes:
        value: In `unit`.
        unit: For example `px` or `degrees`.
        quality: Component quality, 0 to 100, higher is better (after ISO/IEC 29794-5); 50 at the limit.
    """

    value: float
    unit: str
    quality: int


@dataclass(frozen=True, slots=True)
class Reason:
    """A measure that is beyond its limit.

    Attributes:
        code: For programs, for example `too_dark`.
        text: For the person before the camera, for example `Turn on a light`.
        measure: Name of the measure.
        value: Its value.
        limit: The limit, in the measure's unit.
    """

    code: str
    text: str
    measure: str
    value: float
    limit: float


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face that a detector found.

    Attributes:
        box: x, y of the upper left corner, width and height, pixels of the image. It may extend beyond the image.
        landmarks: float32 (5, 2): x, y of left eye, right eye, nose tip, left and right mouth corner as seen in the
            image, pixels of the image.
        confidence: The detector's confidence, in [0, 1].
    """

    box: tuple[float, float, float, float]
    landmarks: NDArray[np.float32]
    confidence: float

    def __repr__(self) -> str:
        """Show coordinates in whole pixels and reasons as codes; leave out crop and measures, and what is None."""
        hidden = ("crop", "measures")
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in hidden}
        texts = [f"{name}={_short(value)}" for name, value in values.items() if value is not None]
        return f"{type(self).__name__}({', '.join(texts)})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FaceQuality(Face):
    """A face and its quality.

    Attributes:
        score: Quality; higher is better. Its usual range is `score_range` on the model's card.
        crop: uint8 BGR (112, 112, 3): the aligned face that was scored.
        quality: 0 to 100, see `sdk.decision.calibration`; None where the scorer has no calibration, or one
            without a curve.
        accepted: Whether the score reaches the scorer's `threshold`; None where it has none.
        measures: Properties of the picture by name; None where the scorer gives no reasons.
        reasons: What is wrong with the picture, the worst first; empty where nothing is, None where the scorer gives no
            reasons.
    """

    score: float
    crop: NDArray[np.uint8]
    quality: int | None = None
    accepted: bool | None = None
    measures: Mapping[str, Measure] | None = None
    reasons: tuple[Reason, ...] | None = None


def _short(value: object) -> str:
    if isinstance(value, tuple) and all(isinstance(each, Reason) for each in value):
        return f"({', '.join(each.code for each in value)})"
    if isinstance(value, (tuple, np.ndarray)):
        return f"({', '.join(_short(each) if np.ndim(each) else f'{each:.0f}' for each in value)})"
    return f"{value:.3f}" if isinstance(value, (float, np.floating)) else repr(value)
