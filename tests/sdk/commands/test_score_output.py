"""Rows on a terminal: the bar and its colour, and paths that fit."""

import io
from pathlib import Path

import pytest

from sdk.commands.score_output import GREEN, RED, YELLOW, colour, rows_printer, shortened_path
from sdk.results_io.scored_face import ScoredFace


@pytest.mark.parametrize(
    ("path", "width", "short"),
    [
        ("a/b/c.jpg", 9, "a/b/c.jpg"),
        ("a/b/c.jpg", 8, ".../c.jpg"),
        ("folder/b/c.jpg", 13, ".../b/c.jpg"),
        ("/folder/b/c.jpg", 11, ".../b/c.jpg"),
        ("folder/a-long-name.jpg", 5, ".../a-long-name.jpg"),
        ("a-long-name.jpg", 5, "a-long-name.jpg"),
        ("顔/顔/顔.jpg", 11, ".../顔.jpg"),
    ],
)
def test_folders_are_cut_from_the_left(path: str, width: int, short: str) -> None:
    assert shortened_path(path, width) == short


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, RED), (0.5, YELLOW), (1.0, GREEN), (0.25, tuple((a + b) / 2 for a, b in zip(RED, YELLOW, strict=True)))],
)
def test_colours(share: float, expected: tuple[float, ...]) -> None:
    assert colour(share) == "rgb({},{},{})".format(*map(round, expected))


@pytest.mark.parametrize(
    ("score", "bar"), [(-1.0, ""), (0.0, ""), (1.0, "#####"), (2.0, "##########"), (9.0, "##########")]
)
def test_the_bar_spans_the_range_of_the_card(score: float, bar: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    show = rows_printer(stream, (0.0, 2.0))
    show([ScoredFace(Path("a.jpg"), 0, score), ScoredFace(Path("b.jpg"), error="no face found")])
    stream.seek(0)
    _, row = stream.read().splitlines()
    assert row == f"{score:8.4f}  {bar:10}     0  a.jpg"
