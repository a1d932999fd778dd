"""Checks of the arguments of public classes."""

import sys
from typing import Any

import numpy as np

from sdk.errors import InputError


def is_finite(value: object) -> bool:
    """Tell whether a value is an int or a float, and finite. `math.isfinite` fails for an integer of 400 digits."""
    return isinstance(value, (int, float)) and abs(value) <= sys.float_info.max


def check_range(name: str, value: Any, least: float, most: float, unit: str) -> None:
    """Refuse a value that is no real number from `least` to `most`.

    Raises:
        InputError: The value is refused; the message names the argument.
    """
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not least <= value <= most:
        raise InputError(f"{name} is {value!r}, wanted {least:g} to {most:g} {unit}")


def check_count(name: str, value: Any, most: int | None = None) -> None:
    """Refuse a value that is neither None nor an integer from 1 to `most`.

    Raises:
        InputError: The value is refused; the message names the argument.
    """
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if value is not None and not (whole and value >= 1 and (most is None or value <= most)):
        wanted = f"from 1 to {most}" if most else "of at least 1"
        raise InputError(f"{name} is {value!r}, wanted a whole number {wanted}, or None for the default")


def check_type(name: str, value: Any, wanted: type) -> None:
    """Refuse a value that is neither None nor of a class.

    Raises:
        InputError: The value is refused; the message names the argument.
    """
    if value is not None and not isinstance(value, wanted):
        raise InputError(f"{name} is {value!r}, wanted {wanted.__name__} or None")
