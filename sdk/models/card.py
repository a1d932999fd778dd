"""ModelCard: everything that code must know about a model file.

The catalogue holds cards as TOML, an ONNX file as one JSON value in its `metadata_props`, other files as JSON
beside them. Code asks the card and never the model's name. A card is checked where it is made, so no other code meets a
wrong value.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sdk.decision.calibration import Calibration
from sdk.errors import InputError, ModelError
from sdk.models.card_checks import (
    LARGEST_NUMBER,
    check_choice,
    check_integer,
    check_line,
    check_name,
    check_sha256,
    check_text,
    make_part,
    to_dict,
    to_numbers,
    to_tuple,
    wrong_value,
)
from sdk.models.formats import FORMATS

METADATA_KEY = "fiqa_card"
"""Key of the card in an ONNX file's `metadata_props`."""

MOST_BYTES = 1 << 20
"""Largest card that is read, bytes; usual cards have some thousand."""

_LARGEST_SIDE, _LARGEST_BATCH = 1 << 16, 1 << 16


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The input of a model.

    Attributes:
        height: Pixels; 0 for any.
        width: Pixels; 0 for any.
        colour: Order of the channels: `BGR` or `RGB`.
        layout: `NHWC` or `NCHW`.
        dtype: `uint8`: the graph normalises the pixels itself. `float32`: the caller normalises them.
        mean: Mean of R, G and B, for pixels in [0, 1]: the normalised value is `(x / 255 - mean) / std`.
        std: Standard deviation of R, G and B, for pixels in [0, 1].

    Raises:
        ModelError: A value is unknown or has another type.
    """

    height: int = 112
    width: int = 112
    colour: Literal["BGR", "RGB"] = "BGR"
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    dtype: Literal["uint8", "float32"] = "uint8"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            check_integer(f"input.{name}", getattr(self, name), 0, _LARGEST_SIDE)
        check_choice("input.colour", self.colour, ("BGR", "RGB"))
        check_choice("input.layout", self.layout, ("NHWC", "NCHW"))
        check_choice("input.dtype", self.dtype, ("uint8", "float32"))
        for name in ("mean", "std"):
            values = to_numbers(f"input.{name}", getattr(self, name), 3)
            least = 1 / LARGEST_NUMBER if name == "std" else 0
            if not all(least <= abs(value) <= LARGEST_NUMBER for value in values):
                raise wrong_value(f"input.{name}", values, f"numbers of a size from {least:g} to {LARGEST_NUMBER:g}")
            object.__setattr__(self, name, values)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one face in the layout, (height, width, 3) or (3, height, width)."""
        return (self.height, self.width, 3) if self.layout == "NHWC" else (3, self.height, self.width)


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """Facts about a model file that is bound to a library or a device. Empty for an ONNX file.

    Attributes:
        sha256: SHA-256 of the file. For OpenVINO IR see `sdk.models.loading.openvino_digest`.
        version: Version of the library that built it.
        architectures: Compute capabilities of the GPUs that it runs on, for example `8.6`.
        batches: Batch sizes that it was built for.
        target: Device that it was exported for; see `export.targets`.
        layers: Number of layers by precision.
        command: Command that builds it again.

    Raises:
        ModelError: A value is unknown or has another type.
    """

    sha256: str = ""
    version: str = ""
    architectures: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()
    target: str = ""
    layers: Mapping[str, int] = field(default_factory=dict)
    command: str = ""

    def __post_init__(self) -> None:
        for name in ("version", "target"):
            check_name(f"engine.{name}", getattr(self, name))
        check_sha256("engine.sha256", self.sha256)
        check_line("engine.command", self.command)
        architectures = to_tuple("engine.architectures", self.architectures)
        if not all(isinstance(name, str) and re.fullmatch(r"\d{1,2}\.\d", name, re.ASCII) for name in architectures):
            raise wrong_value("engine.architectures", architectures, "compute capabilities such as '8.6'")
        batches = to_tuple("engine.batches", self.batches)
        for size in batches:
            check_integer("engine.batches", size, 1, _LARGEST_BATCH)
        layers = to_dict("engine.layers", self.layers)
        for count in layers.values():
            check_integer("engine.layers", count, 0, 1 << 31)
        for name, value in (("architectures", architectures), ("batches", batches), ("layers", layers)):
            object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """Return the facts that are known as plain values."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value}


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model's description.

    Attributes:
        name: Name in the catalogue, for example `fiqa-nano`.
        variant: Name of the network in `train.networks`, for example `ediffiqa-t`.
        task: `quality`, `detection`, `recognition` or `reasons`.
        summary: One sentence for people.
        licence: SPDX identifier of the weights' licence, or a sentence if there is none.
        attribution: Credit that the licence asks for.
        input: The model's input.
        output: Name of the output. A quality model's is (N, 1), higher is better; a recognition model's is (N, D),
            embeddings; that of others depends on the variant.
        score_range: Usual scores of the worst and of the best faces. Scores may lie outside.
        format: One of `sdk.models.formats.FORMATS`. All formats but ONNX keep the card as JSON beside the file.
        precision: One of `sdk.models.formats.PRECISIONS` that the format allows.
        engine: Facts about a file that is bound to a library or a device.
        proven: True if the export compared the file's scores with those of its source, in the runtime that it is for.
        source: Origin of the weights.
        source_sha256: SHA-256 of the file that the model was exported from.
        training_data: Data that it was trained on, and the use that the data allow.
        training_commit: Commit of the code that trained it.
        paper: Reference of the method.
        verification: Largest differences measured at export, by runtime.
        calibration: What the scores mean, and thresholds; None where nobody measured it.
        notes: Anything else that a user must know.

    Raises:
        ModelError: A value is unknown or has another type.

    Examples:
        >>> from sdk import ModelCard
        >>> card = ModelCard("my-model", licence="MIT", score_range=(0, 100))
        >>> card
        ModelCard(name='my-model', task='quality', format='onnx', precision='fp32', licence='MIT')
        >>> ModelCard.from_json(card.to_json()) == card
        True
    """

    name: str
    variant: str = ""
    task: Literal["quality", "detection", "recognition", "reasons"] = "quality"
    summary: str = ""
    licence: str = ""
    attribution: str = ""
    input: InputSpec = field(default_factory=InputSpec)
    output: str = "quality"
    score_range: tuple[float, float] = (0.0, 1.0)
    format: str = "onnx"
    precision: str = "fp32"
    engine: EngineFacts = field(default_factory=EngineFacts)
    proven: bool = True
    source: str = ""
    source_sha256: str = ""
    training_data: str = ""
    training_commit: str = ""
    paper: str = ""
    verification: Mapping[str, float] = field(default_factory=dict)
    calibration: Calibration | None = None
    notes: str = ""

    def __post_init__(self) -> None:
        for name in ("name", "variant", "output", "training_commit"):
            check_name(name, getattr(self, name))
        if not self.name.strip():
            raise wrong_value("name", self.name, "a name")
        for name in ("summary", "licence", "attribution", "source", "training_data", "paper", "notes"):
            check_text(name, getattr(self, name))
        check_choice("task", self.task, ("quality", "detection", "recognition", "reasons"))
        check_choice("format", self.format, FORMATS)
        check_choice("precision", self.precision, FORMATS[self.format].precisions)
        check_choice("proven", self.proven, (True, False))
        check_sha256("source_sha256", self.source_sha256)
        scores = to_numbers("score_range", self.score_range, 2)
        if scores[0] >= scores[1]:
            raise wrong_value("score_range", scores, "the lower number first")
        verification = to_dict("verification", self.verification)
        to_numbers("verification", tuple(verification.values()), len(verification))
        for name, value in (
            ("input", make_part(InputSpec, "input", self.input)),
            ("engine", make_part(EngineFacts, "engine", self.engine)),
            ("score_range", scores),
            ("verification", verification),
            ("calibration", _calibration(self.calibration)),
        ):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """Show the fields that tell models apart; `to_dict` has all."""
        names = ("name", "task", "format", "precision", "licence")
        return f"ModelCard({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values, ready for JSON; `calibration` only where there is one."""
        values = {**dataclasses.asdict(self), "engine": self.engine.to_dict()}
        if self.calibration is None:
            del values["calibration"]
        else:
            values["calibration"] = self.calibration.to_dict()
        return values

    def to_json(self) -> str:
        """Return the card as one line of JSON."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelCard":
        """Make a card from plain values, such as those of `to_dict`.

        Raises:
            ModelError: A field is unknown or wrong, or the name is missing.
        """
        return make_part(cls, "", values)

    @classmethod
    def from_json(cls, text: str) -> "ModelCard":
        """Make a card from the text of `to_json`.

        Raises:
            ModelError: The text is too long, is not JSON, or is not a card.
        """
        if len(text) > MOST_BYTES:
            raise ModelError(f"a model card has {len(text):,} characters, wanted at most {MOST_BYTES:,}")
        try:
            values = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicates)
        except (ValueError, RecursionError) as error:
            reason = "it is nested too deep" if isinstance(error, RecursionError) else error
            raise ModelError(f"a model card is not JSON ({reason}); export the model again") from error
        if not isinstance(values, dict):
            raise ModelError(f"a model card is a {type(values).__name__}, wanted an object; export the model again")
        return cls.from_dict(values)


def _calibration(value: Any) -> Calibration | None:
    if value is None or isinstance(value, Calibration):
        return value
    if not isinstance(value, Mapping):
        raise wrong_value("calibration", value, "a table, as fiqa calibrate writes it")
    try:
        return Calibration.from_dict(value)
    except InputError as error:
        raise ModelError(f"a model card's calibration is wrong: {error}") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a field occurs twice in one object")
    return values
