"""Safe text: characters of file names that a terminal, a table or a web page would obey are escaped."""

import os
import re
from html import escape
from pathlib import Path

_SURROGATES = re.compile("[\ud800-\udfff]")
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters: line breaks, escape sequences, the bell
    "\u2028\u2029"  # line breaks of Unicode
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # change the direction of the text
    "\ud800-\udfff]"  # lone surrogates, which no text file can hold
)
ONNXRUNTIME_EXTRAS = "'fiqa[cpu]', or 'fiqa[gpu]' for a GPU of NVIDIA"
"""Extras of fiqa that bring onnxruntime, for advice."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_BYTE = 0xDC00
"""Python decodes a byte of a file name that is not UTF-8 as this code plus the byte (`surrogateescape`)."""


def shown(text: str) -> str:
    r"""Return a text on one line, with invisible characters escaped: `\n`, `\x1b`, `\u202e`."""
    return _UNSEEN.sub(_escape, text)


def safe_markup(text: str) -> str:
    """Return a text for a web page: without markup, and without characters that turn its direction round."""
    return escape(shown(text))


def path_text(path: str | os.PathLike[str]) -> str:
    r"""Return a path as text that can be encoded as UTF-8: other bytes are escaped as `\xe9`."""
    return _SURROGATES.sub(_escape, str(Path(path)))


def csv_field(text: str, before: str = " ") -> str:
    """Return a text as a field of CSV: on one line, and never a formula that a spreadsheet would compute.

    Args:
        text: Text of the field.
        before: Put before a text that looks like a formula. With `./` a path still names the same file.
    """
    return shown(before + text if text.startswith(_FORMULA) else text)


def shortened(value: object, most: int = 200) -> str:
    """Return the first line of a value's text, cut after `most` characters, for an error."""
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
