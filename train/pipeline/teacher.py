"""The face-recognition model of a recipe: it gives embeddings, labels and, by default, the backbone to start from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdk.errors import InputError
from sdk.text import shortened
from train.networks.recognition import RecognitionModel, is_file, load_recognition_model
from train.recipes import text_of

INPUT = ("mean", "std", "colour", "size")
"""Settings of the section `teacher` that say how the model takes faces."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """The section `teacher` of a recipe.

    Attributes:
        model: See `train.networks.recognition.load_recognition_model`; the path of a file is complete.
        weights: Checkpoint, where the model is one of our networks.
        given: What is said of its input, see `INPUT`.
    """

    model: str
    weights: Path | None = None
    given: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_recipe(cls, section: Mapping[str, Any], data: Path) -> "Teacher":
        """Read the section.

        Args:
            section: The section.
            data: Folder that paths are relative to.

        Raises:
            InputError: The model is missing, or a setting is unknown.
        """
        model = text_of(section, "model", "teacher")
        if unknown := sorted(set(section) - {"model", "weights", *INPUT}):
            raise InputError(f"teacher has {shortened(repr(unknown[0]))}, wanted: model, weights, {', '.join(INPUT)}")
        weights = data / text_of(section, "weights", "teacher") if "weights" in section else None
        given = {name: section[name] for name in INPUT if section.get(name) is not None}
        return cls(str(data / model) if is_file(model) and ":" not in model else model, weights, given)

    @property
    def files(self) -> list[Path]:
        """The files that are read."""
        return [*([Path(self.model)] if is_file(self.model) else []), *([self.weights] if self.weights else [])]

    def load(self, gradients: bool = False) -> RecognitionModel:
        """Load the model."""
        return load_recognition_model(self.model, self.weights, gradients=gradients, **self.given)
