"""Texts of reasons: one file, which a translation replaces."""

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from sdk.decision.measures import CODES
from sdk.errors import InputError
from sdk.files import read_text
from sdk.text import shortened

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_BYTES = 1 << 16
"""Largest file of texts."""

LONGEST = 200
"""Most characters of a text."""


@cache
def default_texts() -> Mapping[str, str]:
    """Return the English text of each code."""
    return read_texts(Path(__file__).with_name("reasons.toml"))


def read_texts(path: Path) -> Mapping[str, str]:
    """Read a file of texts, TOML: `too_dark = "Turn on a light"`.

    Args:
        path: A copy of `sdk/decision/reasons.toml` with other texts.

    Returns:
        Texts by code.

    Raises:
        InputError: The file cannot be read, a code is unknown or missing, or a text is none.
    """
    again = "copy sdk/decision/reasons.toml and change its texts only"
    content = read_text(path, InputError, again, MOST_BYTES)
    try:
        texts = tomllib.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not TOML ({shortened(error)}); {again}") from error
    for code, text in texts.items():
        if code not in CODES:
            raise InputError(f"{path} has the code {shortened(repr(code))}, wanted: {', '.join(CODES)}; {again}")
        if not isinstance(text, str) or not text.strip() or not text.isprintable() or len(text) > LONGEST:
            raise InputError(
                f"{path}: the text of {code} is {shortened(repr(text))}, wanted one line of at most {LONGEST} "
                f"characters; {again}"
            )
    if missing := [code for code in CODES if code not in texts]:
        raise InputError(f"{path} has no text for {', '.join(missing)}; {again}")
    return MappingProxyType(texts)
