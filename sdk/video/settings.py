"""The settings of a `VideoScorer`."""

import math
from dataclasses import dataclass

from sdk.errors import InputError


@dataclass(frozen=True, slots=True)
class Settings:
    """Choice of the frames and faces that are scored; see `VideoScorer`.

    Raises:
        InputError: A number is out of its range.
    """

    every: int = 1
    max_fps: float | None = None
    min_size: float = 0
    queue: int = 2

    def __post_init__(self) -> None:
        for name, value in (("every", self.every), ("queue", self.queue)):
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name} is {value}, wanted a whole number of at least 1")
        if self.max_fps is not None and not self.max_fps > 0:
            raise InputError(f"max_fps is {self.max_fps}, wanted more than 0 frames per second, or None for all")
        if not 0 <= self.min_size < math.inf:
            raise InputError(f"min_size is {self.min_size}, wanted 0 pixels or more")
