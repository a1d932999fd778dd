"""ModelCard: all that code needs to know of a model file.

Written as TOML in the catalogue, as one JSON value in an ONNX file's `metadata_props`, as JSON beside an engine.
Code asks the card, never the name.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sdk.errors import ModelError

METADATA_KEY = "fiqa_card"
"""Key of the card in an ONNX file's `metadata_props`."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a model takes.

    `mean` and `std` are in the network's own RGB order on a [0, 1] scale: `(x / 255 - mean) / std`. With dtype
    `uint8` the graph applies them itself; with `float32` the caller does. A height and width of 0 stand for any.
    """

    height: int = 112
    width: int = 112
    colour: Literal["BGR", "RGB"] = "BGR"
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    dtype: Literal["uint8", "float32"] = "uint8"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model's description.

    Attributes:
        name: Name in the catalogue, for example `fiqa-nano`.
        variant: Network, as `train.networks` names it, for example `ediffiqa-t`.
        task: `quality` or `detection`.
        summary: One sentence for people.
        licence: SPDX identifier, or a sentence where none applies.
        attribution: Whom to credit, as the licence asks.
        input: What the model takes.
        output: Name of the output: (N, 1), higher is better; of a detector, what its variant gives.
        score_range: Scores of the worst and the best faces, roughly; not a bound.
        format: `onnx`, `tensorrt`, `tensorrt-rtx` or `openvino`. All but ONNX have their card as JSON beside the file.
        precision: `fp32`, `fp16`, `int8` or `int8+fp16`.
        engine: Of a file that is bound to a library or a device, what it was built by and for: `sha256` of the file,
            `version` of the library, `architectures` (compute capabilities such as `8.6`), `batches`, `target`,
            `layers` (how many take which precision), and `command`, which builds it again. Empty for ONNX.
        proven: Whether the file's scores were compared with its source's, in the runtime that it is for.
        source: Where the weights came from.
        source_sha256: SHA-256 of the file that the model was exported from.
        training_data: What it was trained on, and what that allows.
        training_commit: Commit of the code that trained it.
        paper: Reference of the method.
        verification: Largest differences measured at export, by runtime.
        notes: Anything that a user must know.
    """

    name: str
    variant: str = ""
    task: Literal["quality", "detection"] = "quality"
    summary: str = ""
    licence: str = ""
    attribution: str = ""
    input: InputSpec = field(default_factory=InputSpec)
    output: str = "quality"
    score_range: tuple[float, float] = (0.0, 1.0)
    format: str = "onnx"
    precision: str = "fp32"
    engine: Mapping[str, Any] = field(default_factory=dict)
    proven: bool = True
    source: str = ""
    source_sha256: str = ""
    training_data: str = ""
    training_commit: str = ""
    paper: str = ""
    verification: Mapping[str, float] = field(default_factory=dict)
    notes: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """The card as one line of JSON."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelCard":
        """Build a card from plain values.

        Raises:
            ModelError: A field is unknown or the name is missing.
        """
        try:
            given = dict(values)
            spec = dict(given.pop("input", {}))
            for key in ("mean", "std"):
                if key in spec:
                    spec[key] = tuple(spec[key])
            if "score_range" in given:
                given["score_range"] = tuple(given["score_range"])
            return cls(input=InputSpec(**spec), **given)
        except (TypeError, ValueError) as error:
            raise ModelError(f"a model card does not fit: {error}; see docs/models.md for its fields") from error

    @classmethod
    def from_json(cls, text: str) -> "ModelCard":
        """Read what `to_json` wrote.

        Raises:
            ModelError: The text is not JSON or not a card.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ModelError(f"a model card is not JSON ({error}); export the model again") from error
        if not isinstance(values, dict):
            raise ModelError(f"a model card is a {type(values).__name__}, wanted an object; export the model again")
        return cls.from_dict(values)
