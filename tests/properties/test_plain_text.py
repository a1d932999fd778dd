"""Shown text is harmless: no control character survives, and visible characters are unchanged."""

import io
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sdk.commands.console import print_plain
from tests.support.strategies import MANY, any_text

spoken = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), max_size=40)
markup = st.lists(
    st.sampled_from(["[bold]", "[/]", "[red]x", ":smile:", "[link=x]", "\\[", "http://x.y", "'a'", "100%"]), max_size=5
)


def printed(text: str, **options: object) -> str:
    """Return a line as the terminal gets it, without its line break."""
    out = io.StringIO()
    print_plain(Console(file=out, width=20, **options), text)
    line = out.getvalue()
    assert line.endswith("\n")
    return line[:-1]


@MANY
@given(any_text)
def test_nothing_is_obeyed(text: str) -> None:
    line = printed(text)
    assert not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in line)
    assert not set(line) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069")
    line.encode("utf-8")


@MANY
@given(spoken)
def test_what_is_seen_stays(text: str) -> None:
    assert printed(text) == text


@MANY
@given(markup)
def test_markup_stays_text(parts: list[str]) -> None:
    text = " ".join(parts)
    assert printed(text) == text
    assert printed(text, force_terminal=True, color_system=None) == text


@MANY
@given(any_text, st.sampled_from(["ascii", "latin-1", "cp437", "utf-8"]))
def test_any_encoding(text: str, encoding: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace")  # as `prepare_console` sets it
    print_plain(Console(file=stream, width=20), text)
    stream.flush()
    assert raw.getvalue().endswith(b"\n")
