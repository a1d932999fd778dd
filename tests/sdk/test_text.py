"""Shown names: no character in them is obeyed by a terminal, a table or a page."""

from pathlib import Path

import pytest

from sdk.text import count, csv_field, path_text, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain [red] :smile: ä 人 😀.jpg", "plain [red] :smile: ä 人 😀.jpg"),
        ("a\tb\r\nc", r"a\tb\r\nc"),
        ("\x1b]8;;http://x\x1b\\", r"\x1b]8;;http://x\x1b" + "\\"),
        ("\x00\x07\x7f\x85\x9b31m", r"\x00\x07\x7f\x85\x9b31m"),
        ("cod\u202egpj.exe", r"cod\u202egpj.exe"),
        ("\u2066\u2069\u200f\u061c", r"\u2066\u2069\u200f\u061c"),
        ("one\u2028two\u2029", r"one\u2028two\u2029"),
        ("caf\udce9 \ud83d", r"caf\xe9 \ud83d"),
    ],
)
def test_what_cannot_be_seen_is_escaped(text: str, expected: str) -> None:
    assert shown(text) == expected
    assert shown(shown(text)) == expected


def test_a_path_keeps_all_that_a_text_file_can_hold() -> None:
    assert path_text(Path("a\n\x1b\u202e/b\udcff.png")) == "a\n\x1b\u202e/b\\xff.png"
    assert path_text(Path("b\udcfe.png")) != path_text(Path("b\udcff.png"))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-x", "@SUM(1)", "\t=1", "\r=1"])
def test_a_field_is_no_formula(text: str) -> None:
    assert csv_field(text) == " " + shown(text)
    assert csv_field(text, "./") == "./" + shown(text)


@pytest.mark.parametrize("text", ["", "a=1", "1-2", "plain"])
def test_other_fields_stay(text: str) -> None:
    assert csv_field(text) == text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("face", 0), "0 faces"),
        (("face", 1), "1 face"),
        (("face", 2), "2 faces"),
        (("match", 2, "matches"), "2 matches"),
    ],
)
def test_counts_in_words(arguments: tuple[str, int], words: str) -> None:
    assert count(*arguments) == words
