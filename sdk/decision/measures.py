"""Measures of a face's picture: units, limits and component qualities.

A measure's quality is 100 at its best value, 50 at its limit and 0 at its worst, and linear between them; for sizes,
linear in their logarithm. A reason is a measure whose quality is below 50.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sdk.results import Measure


@dataclass(frozen=True, slots=True)
class Scale:
    """A measure's unit and scale.

    Attributes:
        unit: Of its values.
        code: Of the reason; empty where the measure gives none.
        best: Value of quality 100.
        limit: Value of quality 50.
        worst: Value of quality 0.
        logarithmic: Whether quality is linear in the logarithm of the value.
        unless: Measures that cause this one: where one of them is a reason, this one is none.
    """

    unit: str
    code: str = ""
    best: float = 0.0
    limit: float = 0.0
    worst: float = 0.0
    logarithmic: bool = False
    unless: tuple[str, ...] = ()

    def quality(self, value: float) -> float:
        """Return the component quality of a value, 0 to 100, not rounded."""
        if not self.code:
            return 100.0
        best, limit, worst, at = self.best, self.limit, self.worst, value
        if self.logarithmic:
            best, limit, worst, at = (math.log(max(each, 1e-6)) for each in (best, limit, worst, at))
        within = (at - limit) / (best - limit)
        place = 50 + 50 * within if within >= 0 else 50 - 50 * (at - limit) / (worst - limit)
        return min(max(place, 0.0), 100.0)


_CAUSES = ("misalignment", "over_exposure", "darkness", "occlusion", "blur", "resolution")

SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        "misalignment": Scale("%", "misplaced", 0, 6, 60),
        "over_exposure": Scale("stops", "too_bright", 0, 0.8, 3.6),
        "darkness": Scale("stops", "too_dark", 0, 1.2, 5.1),
        "occlusion": Scale("%", "covered", 0, 11.5, 70),
        "blur": Scale("% of eye distance", "blurred", 0, 2.4, 19.9),
        "resolution": Scale("px across the eyes", "low_resolution", 35.2, 18.8, 2.2, logarithmic=True),
        "noise": Scale("grey levels", "noisy", 0, 9.7, 70),
        "compression": Scale("%", "compressed", 0, 10, 100),
        "outside": Scale("%", "cut_off", 0, 25, 75),
        "eye_distance": Scale("px", "too_small", 100, 24, 6, logarithmic=True),
        "contrast": Scale("%", "low_contrast", 100, 15, 0, unless=_CAUSES),
        "uneven_light": Scale("%", "uneven_light", 0, 60, 100, unless=_CAUSES),
        "yaw": Scale("degrees", "turned", 0, 35, 90),
        "pitch": Scale("degrees", "looking_up_or_down", 0, 35, 90, unless=("misalignment",)),
        "roll": Scale("degrees", "tilted", 0, 30, 90),
        "faces": Scale("faces"),
    }
)
"""All measures. Where two are equally bad, the first one is named first."""

MEASURE_OF: Mapping[str, str] = MappingProxyType({scale.code: name for name, scale in SCALES.items() if scale.code})
"""The measure of each code."""

CODES = tuple(MEASURE_OF)
"""Codes of all reasons."""

IMAGE_DAMAGE = (
    "misalignment", "over_exposure", "darkness", "occlusion", "blur", "resolution", "noise", "compression",
)  # fmt: skip
"""Measures of damage to the picture: those of `train.degradations`."""


def make_measure(name: str, value: float) -> Measure:
    """Make a measure of `SCALES` from its value."""
    scale = SCALES[name]
    if name in ("yaw", "pitch", "roll"):
        return Measure(value, scale.unit, round(scale.quality(abs(value))))
    return Measure(value, scale.unit, round(scale.quality(value)))
