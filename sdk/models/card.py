"""ModelCard: all that code needs to know of a model file.

Written as TOML in the catalogue, as one JSON value in an ONNX file's `metadata_props`, as JSON beside an engine.
Code asks the card, never the name. A card is checked where it is made, so no other code meets an unknown value.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from sdk.errors import ModelError
from sdk.models.formats import FORMATS

METADATA_KEY = "fiqa_card"
"""Key of the card in an ONNX file's `metadata_props`."""

MOST_BYTES = 1 << 20
"""Largest card that is read; written ones have some thousand bytes."""

_LONGEST_NAME, _LONGEST_TEXT, _MOST_ENTRIES = 200, 20_000, 1000
_LARGEST_SIDE, _LARGEST_BATCH = 1 << 16, 1 << 16
_LARGEST_NUMBER, _LARGEST_RESULT = 1e6, 1e30
# Control characters, lone surrogates, and what reverses or breaks a line where text is shown; lines and tabs may be in
# sentences, not in names.
_IN_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_IN_NO_NAME = re.compile(f"{_IN_NO_TEXT.pattern}|[\t\n]")

_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a model takes.

    `mean` and `std` are in the network's own RGB order on a [0, 1] scale: `(x / 255 - mean) / std`. With dtype
    `uint8` the graph applies them itself; with `float32` the caller does. A height and width of 0 stand for any.

    Raises:
        ModelError: A value is unknown or of another type.
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
            _check_integer(f"input.{name}", getattr(self, name), 0, _LARGEST_SIDE)
        _check_choice("input.colour", self.colour, ("BGR", "RGB"))
        _check_choice("input.layout", self.layout, ("NHWC", "NCHW"))
        _check_choice("input.dtype", self.dtype, ("uint8", "float32"))
        for name in ("mean", "std"):
            values = _numbers(f"input.{name}", getattr(self, name), 3)
            least = 1 / _LARGEST_NUMBER if name == "std" else 0
            if not all(least <= abs(value) <= _LARGEST_NUMBER for value in values):
                raise _wrong(f"input.{name}", values, f"numbers of a size from {least:g} to {_LARGEST_NUMBER:g}")
            object.__setattr__(self, name, values)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sizes of one face, in the order of the layout."""
        return (self.height, self.width, 3) if self.layout == "NHWC" else (3, self.height, self.width)


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What a file that is bound to a library or a device was built by and for. Empty for ONNX.

    Attributes:
        sha256: SHA-256 of the file; of OpenVINO IR see `sdk.models.loading.openvino_digest`.
        version: Version of the library.
        architectures: Compute capabilities of GPUs, such as `8.6`.
        batches: Fixed batches that it runs in.
        target: Device that it was exported for, see `export.targets`.
        layers: How many layers take which precision.
        command: Builds it again.

    Raises:
        ModelError: A value is unknown or of another type.
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
            _check_name(f"engine.{name}", getattr(self, name))
        _check_sha256("engine.sha256", self.sha256)
        _check_text("engine.command", self.command, _IN_NO_NAME)
        architectures = _sequence("engine.architectures", self.architectures)
        if not all(isinstance(name, str) and re.fullmatch(r"\d{1,2}\.\d", name, re.ASCII) for name in architectures):
            raise _wrong("engine.architectures", architectures, "compute capabilities such as '8.6'")
        batches = _sequence("engine.batches", self.batches)
        for size in batches:
            _check_integer("engine.batches", size, 1, _LARGEST_BATCH)
        layers = _mapping("engine.layers", self.layers)
        for count in layers.values():
            _check_integer("engine.layers", count, 0, 1 << 31)
        for name, value in (("architectures", architectures), ("batches", batches), ("layers", layers)):
            object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """Plain values of what is known."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value}


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
        format: One of `sdk.models.formats.FORMATS`. All but ONNX have their card as JSON beside the file.
        precision: One of `sdk.models.formats.PRECISIONS` that the format may have.
        engine: Of a file that is bound to a library or a device, what it was built by and for.
        proven: Whether the file's scores were compared with its source's, in the runtime that it is for.
        source: Where the weights came from.
        source_sha256: SHA-256 of the file that the model was exported from.
        training_data: What it was trained on, and what that allows.
        training_commit: Commit of the code that trained it.
        paper: Reference of the method.
        verification: Largest differences measured at export, by runtime.
        notes: Anything that a user must know.

    Raises:
        ModelError: A value is unknown or of another type.
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
    engine: EngineFacts = field(default_factory=EngineFacts)
    proven: bool = True
    source: str = ""
    source_sha256: str = ""
    training_data: str = ""
    training_commit: str = ""
    paper: str = ""
    verification: Mapping[str, float] = field(default_factory=dict)
    notes: str = ""

    def __post_init__(self) -> None:
        for name in ("name", "variant", "output", "training_commit"):
            _check_name(name, getattr(self, name))
        if not self.name.strip():
            raise _wrong("name", self.name, "a name")
        for name in ("summary", "licence", "attribution", "source", "training_data", "paper", "notes"):
            _check_text(name, getattr(self, name), _IN_NO_TEXT)
        _check_choice("task", self.task, ("quality", "detection"))
        _check_choice("format", self.format, FORMATS)
        _check_choice("precision", self.precision, FORMATS[self.format].precisions)
        _check_choice("proven", self.proven, (True, False))
        _check_sha256("source_sha256", self.source_sha256)
        scores = _numbers("score_range", self.score_range, 2)
        if scores[0] >= scores[1]:
            raise _wrong("score_range", scores, "the lower number first")
        verification = _mapping("verification", self.verification)
        _numbers("verification", tuple(verification.values()), len(verification))
        for name, value in (
            ("input", _made(InputSpec, "input", self.input)),
            ("engine", _made(EngineFacts, "engine", self.engine)),
            ("score_range", scores),
            ("verification", verification),
        ):
            object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**dataclasses.asdict(self), "engine": self.engine.to_dict()}

    def to_json(self) -> str:
        """The card as one line of JSON."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelCard":
        """Build a card from plain values.

        Raises:
            ModelError: A field is unknown or wrong, or the name is missing.
        """
        return _made(cls, "", values)

    @classmethod
    def from_json(cls, text: str) -> "ModelCard":
        """Read what `to_json` wrote.

        Raises:
            ModelError: The text is not JSON or not a card, or it is too long.
        """
        if len(text) > MOST_BYTES:
            raise ModelError(f"a model card has {len(text):,} characters, wanted at most {MOST_BYTES:,}")
        try:
            values = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_twins)
        except (ValueError, RecursionError) as error:
            reason = "it is nested too deep" if isinstance(error, RecursionError) else error
            raise ModelError(f"a model card is not JSON ({reason}); export the model again") from error
        if not isinstance(values, dict):
            raise ModelError(f"a model card is a {type(values).__name__}, wanted an object; export the model again")
        return cls.from_dict(values)


def _made(kind: Callable[..., _Made], name: str, value: Any) -> _Made:
    """A part of a card, itself or made of plain values."""
    if isinstance(value, kind):  # type: ignore[arg-type]
        return value
    known = [each.name for each in dataclasses.fields(kind)]  # type: ignore[arg-type]
    whole = f"'s {name}" if name else ""
    if not isinstance(value, Mapping):
        raise _wrong(name, value, f"a table of {', '.join(known)}")
    unknown = [key for key in value if key not in known]
    if unknown:
        raise ModelError(
            f"a model card{whole} has the unknown field {_shown(unknown[0])}, wanted some of: {', '.join(known)}; "
            "correct it, or use a newer version of fiqa"
        )
    if not name and "name" not in value:
        raise ModelError("a model card has no name; see docs/models.md for its fields")
    return kind(**value)


def _wrong(name: str, value: object, wanted: str) -> ModelError:
    return ModelError(f"a model card's {name} is {_shown(value)}, wanted {wanted}; see docs/models.md for its fields")


def _shown(value: object) -> str:
    """A value as an error shows it: short, in plain characters. What is nested deeply cannot be written out."""
    try:
        words = ascii(value) if isinstance(value, (str, int, float, list, tuple)) else f"a {type(value).__name__}"
    except (ValueError, RecursionError):  # a number of thousands of digits
        words = f"a {type(value).__name__}"
    return words if len(words) <= 80 else f"{words[:77]}..."


def _check_choice(name: str, value: object, wanted: Iterable[object]) -> None:
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in wanted):
        raise _wrong(name, value, f"one of: {', '.join(map(str, wanted))}")


def _check_integer(name: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _wrong(name, value, f"an integer from {least} to {most}")


def _check_text(name: str, value: object, without: re.Pattern[str], longest: int = _LONGEST_TEXT) -> None:
    if not isinstance(value, str) or len(value) > longest or without.search(value):
        raise _wrong(name, value, f"text of at most {longest} characters, without control characters")


def _check_name(name: str, value: object) -> None:
    _check_text(name, value, _IN_NO_NAME, _LONGEST_NAME)


def _check_sha256(name: str, value: object) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"([0-9a-f]{64})?", value):
        raise _wrong(name, value, "64 hexadecimal digits, or nothing")


def _sequence(name: str, value: object) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)) or len(value) > _MOST_ENTRIES:
        raise _wrong(name, value, "a list")
    return tuple(value)


def _mapping(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or len(value) > _MOST_ENTRIES:
        raise _wrong(name, value, "a table")
    for key in value:
        _check_name(name, key)
    return dict(value)


def _numbers(name: str, values: Any, count: int) -> Any:
    """A tuple of finite numbers."""
    found = _sequence(name, values)
    if len(found) != count or not all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST_RESULT
        for value in found
    ):
        raise _wrong(name, values, f"{count} finite numbers")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a field stands twice in one object")
    return values
