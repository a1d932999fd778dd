"""Text as people see it: names of files are anybody's, and may hold what a terminal, a table or a page would obey."""

import os
import re
from pathlib import Path

_SURROGATES = re.compile("[\ud800-\udfff]")
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters: line breaks, escape sequences, the bell
    "\u2028\u2029"  # line breaks of Unicode
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # turn the direction of the text round
    "\ud800-\udfff]"  # what no text file can hold
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_BYTE = 0xDC00
"""Python shows a byte of a name that is not UTF-8 as this, plus the byte."""


def shown(text: str) -> str:
    r"""Return a text of one line that does nothing: what cannot be seen is written as `\n`, `\x1b`, `\u202e`."""
    return _UNSEEN.sub(_escape, text)


def path_text(path: str | os.PathLike[str]) -> str:
    r"""Return a path as text that any file can hold: bytes that are not UTF-8 as `\xe9`, the rest as it is."""
    return _SURROGATES.sub(_escape, str(Path(path)))


def csv_field(text: str, before: str = " ") -> str:
    """Return a text as a field of CSV: one line, and nothing that a spreadsheet would compute.

    Args:
        text: Of the field.
        before: What a text that looks like a formula gets in front; `./` keeps a path what it is.
    """
    return shown(before + text if text.startswith(_FORMULA) else text)


def shortened(value: object, most: int = 200) -> str:
    """Return the first line of a value as text for an error, cut after `most` characters."""
    text = (str(value).splitlines() or [""])[0]
    return text if len(text) <= most else f"{text[:most]}..."


def count(thing: str, number: int, things: str = "") -> str:
    """Return a number of things in words: `1 face`, `2 faces`.

    Args:
        thing: Name of one.
        number: How many.
        things: Name of several; `thing` with an s unless given.
    """
    return f"{number} {thing if number == 1 else things or thing + 's'}"


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if _BYTE <= code <= _BYTE + 0xFF:
        code -= _BYTE
    return _SHORT.get(character) or (f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}")
