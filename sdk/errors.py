"""Every error that fiqa raises on purpose.

A message names the thing, the value found, the value wanted, and the next step.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sdk.results import FaceQuality


class FiqaError(Exception):
    """Base of all errors raised by fiqa; catching it catches nothing else."""


class ImageError(FiqaError, ValueError):
    """An image cannot be read, is too large, or has a shape, type or values that cannot be scored."""


class ModelError(FiqaError):
    """A model is unknown, damaged, of another kind, or cannot be fetched."""


class DeviceError(FiqaError, RuntimeError):
    """A device or an execution provider that was asked for is not there."""


class OutputError(FiqaError):
    """A file cannot be written any further: the disk or the quota is full."""


class InputError(FiqaError, ValueError):
    """A manifest, a table, a recipe or an option is wrong."""


class ScoreError(FiqaError):
    """A model gave NaN or infinity for a face. Nothing is lost: the other faces' scores are in the error.

    Attributes:
        scores: float32 (N,) of all faces of the call in their order; NaN for each that has no score.
        faces: In `assess` all faces of the image in their order; `score` is NaN for each that has none. Else empty.
    """

    def __init__(self, message: str, scores: "NDArray[np.float32]", faces: "Sequence[FaceQuality]" = ()) -> None:
        super().__init__(message)
        self.scores = scores
        self.faces = list(faces)

    def __reduce__(self) -> tuple[type["ScoreError"], tuple[object, ...]]:
        """Travel between processes with the scores."""
        return type(self), (str(self), self.scores, self.faces)
