"""Every error that fiqa raises on purpose.

A message names the thing, the value found, the value wanted, and the next step.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class FiqaError(Exception):
    """Base of all errors raised by fiqa; catching it catches nothing else."""


class ImageError(FiqaError, ValueError):
    """An image cannot be read, is too large, or has a shape, type or values that cannot be scored."""


class ModelError(FiqaError):
    """A model is unknown, damaged, of another kind, or cannot be fetched."""


class ScoreError(FiqaError):
    """A model gave NaN or infinity for a face.

    Attributes:
        scores: float32 (N,), NaN where there is no score.
    """

    def __init__(self, message: str, scores: "NDArray[np.float32]") -> None:
        super().__init__(message)
        self.scores = scores


class DeviceError(FiqaError, RuntimeError):
    """A device or an execution provider that was asked for is not there."""


class OutputError(FiqaError):
    """A file cannot be written any further: the disk or the quota is full."""


class InputError(FiqaError, ValueError):
    """A manifest, a table, a recipe or an option is wrong."""
