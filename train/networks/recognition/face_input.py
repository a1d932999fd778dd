"""How a face-recognition model takes faces: size, colour, mean and deviation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from sdk.alignment import CROP_SIZE
from sdk.errors import InputError
from sdk.models.card import InputSpec

RGB_FACES = InputSpec(CROP_SIZE, CROP_SIZE, "RGB", "NCHW", "float32")
"""What a torch network takes where nothing else is given."""


@dataclass(frozen=True, slots=True)
class FaceInput:
    """What a user says of a model's input. None leaves it to the model's card or to its kind.

    Attributes:
        mean: Subtracted from RGB in [0, 1].
        std: Divides what is left.
        colour: Order of the channels, `RGB` or `BGR`.
        size: Side of the faces, pixels. An ONNX file says it itself.

    Raises:
        InputError: The colour or the size is none.
    """

    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    colour: str | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        if self.colour not in (None, "RGB", "BGR"):
            raise InputError(f"colour is {self.colour!r}, wanted RGB or BGR")
        if self.size is not None and not 16 <= self.size <= 1024:
            raise InputError(f"size is {self.size}, wanted 16 to 1024 pixels")

    def applied(self, spec: InputSpec) -> InputSpec:
        """Return an input with what is given here.

        Raises:
            ModelError: A mean or deviation is out of range.
        """
        size = {} if self.size is None else {"height": self.size, "width": self.size}
        given: dict[str, Any] = {"mean": self.mean, "std": self.std, "colour": self.colour, **size}
        return replace(spec, **{name: value for name, value in given.items() if value is not None})


def as_taken(faces: Tensor, spec: InputSpec) -> Tensor:
    """Bring normalised faces into the form that a network takes. Gradients pass through it.

    Args:
        faces: RGB (N, 3, 112, 112), normalised; in [0, 1] where the network takes uint8.
        spec: The network's input.

    Returns:
        (N, 3, H, W) or (N, H, W, 3), whole numbers from 0 to 255 where the network takes uint8.
    """
    if faces.shape[-2:] != (spec.height, spec.width):
        size = (spec.height, spec.width)
        faces = F.interpolate(faces, size, mode="bilinear", antialias=True, align_corners=False)
    if spec.colour == "BGR":
        faces = faces.flip(1)
    if spec.dtype == "uint8":
        faces = (faces * 255).round().clamp(0, 255)
    return faces.permute(0, 2, 3, 1) if spec.layout == "NHWC" else faces
