"""All errors that fiqa raises on purpose.

A message names the thing that is wrong, the value found, the value wanted, and what to do.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sdk.results import FaceQuality


class FiqaError(Exception):
    """Base class of all errors of fiqa."""


class ImageError(FiqaError, ValueError):
    """An image cannot be read, is too large, or has a shape, type or values that cannot be scored."""


class ModelError(FiqaError):
    """A model is unknown, damaged, of the wrong kind, or cannot be fetched."""


class DeviceError(FiqaError, RuntimeError):
    """A requested device or execution provider is missing, or it fails."""


class OutputError(FiqaError):
    """A file cannot be written because the disk or the quota is full."""


class InputError(FiqaError, ValueError):
    """An argument, an option, or a file of the user's (a manifest, a table, a recipe) is wrong."""


class ScoreError(FiqaError):
    """The model gives NaN or infinity for a face. The scores of the other faces are in the error.

    Attributes:
        scores: float32 (N,) of all faces of the call, in order; NaN for a face without a score.
        faces: All faces of the image, in order, if `assess` raised the error, else empty. A face without a score has
            the score NaN.
    """

    def __init__(self, message: str, scores: "NDArray[np.float32]", faces: "Sequence[FaceQuality]" = ()) -> None:
        super().__init__(message)
        self.scores = scores
        self.faces = list(faces)

    def __reduce__(self) -> tuple[type["ScoreError"], tuple[object, ...]]:
        """Pickle with the scores and the faces."""
        return type(self), (str(self), self.scores, self.faces)
