"""Checks of a model card's values. Each raises `ModelError` with the field, the value found and the value wanted."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from sdk.errors import ModelError

LARGEST_NUMBER = 1e6
"""Largest mean or deviation of an input; the smallest deviation is its reciprocal."""

_LONGEST_NAME, _LONGEST_TEXT, _MOST_ENTRIES, _LARGEST_RESULT = 200, 20_000, 1000, 1e30
# Control characters, lone surrogates, and characters that break a line or change the direction of text. Line breaks and
# tabs are allowed in texts, not in names.
_NOT_IN_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_NOT_IN_NAME = re.compile(f"{_NOT_IN_TEXT.pattern}|[\t\n]")

Part = TypeVar("Part")


def make_part(kind: Callable[..., Part], name: str, value: Any) -> Part:
    """Return a part of a card: `value` itself, or made from a table of plain values.

    Args:
        kind: Dataclass of the part.
        name: Name of the part for errors; empty for the card itself.
        value: A `kind`, or a mapping of its fields.

    Raises:
        ModelError: `value` is neither, a field is unknown, or a value is wrong.
    """
    if isinstance(value, kind):  # type: ignore[arg-type]
        return value
    known = [each.name for each in dataclasses.fields(kind)]  # type: ignore[arg-type]
    whole = f"'s {name}" if name else ""
    if not isinstance(value, Mapping):
        raise wrong_value(name, value, f"a table of {', '.join(known)}")
    unknown = [key for key in value if key not in known]
    if unknown:
        raise ModelError(
            f"a model card{whole} has the unknown field {_shown(unknown[0])}, wanted some of: {', '.join(known)}; "
            "correct it, or use a newer version of fiqa"
        )
    if not name and "name" not in value:
        raise ModelError("a model card has no name; see docs/models.md for its fields")
    return kind(**value)


def wrong_value(name: str, value: object, wanted: str) -> ModelError:
    """Return the error for a field with a wrong value."""
    return ModelError(f"a model card's {name} is {_shown(value)}, wanted {wanted}; see docs/models.md for its fields")


def check_choice(name: str, value: object, wanted: Iterable[object]) -> None:
    """Refuse a value that is none of those wanted."""
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in wanted):
        raise wrong_value(name, value, f"one of: {', '.join(map(str, wanted))}")


def check_integer(name: str, value: object, least: int, most: int) -> None:
    """Refuse a value that is no integer from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise wrong_value(name, value, f"an integer from {least} to {most}")


def check_text(name: str, value: object) -> None:
    """Refuse a value that is no text, or too long, or holds control characters other than line breaks and tabs."""
    _check_characters(name, value, _NOT_IN_TEXT, _LONGEST_TEXT)


def check_line(name: str, value: object) -> None:
    """Refuse a value that is no text on one line."""
    _check_characters(name, value, _NOT_IN_NAME, _LONGEST_TEXT)


def check_name(name: str, value: object) -> None:
    """Refuse a value that is no short text on one line."""
    _check_characters(name, value, _NOT_IN_NAME, _LONGEST_NAME)


def check_sha256(name: str, value: object) -> None:
    """Refuse a value that is neither empty nor a SHA-256 in lower-case hexadecimal."""
    if not isinstance(value, str) or not re.fullmatch(r"([0-9a-f]{64})?", value):
        raise wrong_value(name, value, "64 hexadecimal digits, or nothing")


def to_tuple(name: str, value: object) -> tuple[Any, ...]:
    """Return a list as a tuple; refuse anything else."""
    if not isinstance(value, (list, tuple)) or len(value) > _MOST_ENTRIES:
        raise wrong_value(name, value, "a list")
    return tuple(value)


def to_dict(name: str, value: object) -> dict[str, Any]:
    """Return a mapping with names as keys as a dict; refuse anything else."""
    if not isinstance(value, Mapping) or len(value) > _MOST_ENTRIES:
        raise wrong_value(name, value, "a table")
    for key in value:
        check_name(name, key)
    return dict(value)


def to_numbers(name: str, values: object, count: int) -> tuple[float, ...]:
    """Return `count` finite numbers as floats; refuse anything else."""
    found = to_tuple(name, values)
    if len(found) != count or not all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST_RESULT
        for value in found
    ):
        raise wrong_value(name, values, f"{count} finite numbers")
    return tuple(map(float, found))


def _check_characters(name: str, value: object, refused: re.Pattern[str], longest: int) -> None:
    if not isinstance(value, str) or len(value) > longest or refused.search(value):
        raise wrong_value(name, value, f"text of at most {longest} characters, without control characters")


def _shown(value: object) -> str:
    """Return a value as short ASCII text. A value that cannot be written out is shown as its type."""
    try:
        text = ascii(value) if isinstance(value, (str, int, float, list, tuple)) else f"a {type(value).__name__}"
    except (ValueError, RecursionError):  # an integer of thousands of digits, or deep nesting
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
