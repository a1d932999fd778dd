"""The file of the reasons' texts, and its translations."""

from pathlib import Path

import pytest

from sdk import InputError, QualityScorer, find_reasons
from sdk.decision.measures import CODES, make_measure
from sdk.decision.texts import default_texts, read_texts

ENGLISH = Path(__file__).parents[3] / "sdk/decision/reasons.toml"


def test_every_code_has_a_short_imperative() -> None:
    assert tuple(default_texts()) == CODES
    assert default_texts()["too_dark"] == "Turn on a light"


def test_a_translation(tmp_path: Path) -> None:
    path = tmp_path / "de.toml"
    path.write_text(ENGLISH.read_text("utf-8").replace("Turn on a light", "Licht einschalten"), "utf-8")
    dark = {"darkness": make_measure("darkness", 4.0)}
    assert find_reasons(dark, read_texts(path))[0].text == "Licht einschalten"
    with QualityScorer(device="cpu", threads=1, reasons=path) as scorer:
        assert scorer.measurer is not None
        assert scorer.measurer.reasons(dark)[0].text == "Licht einschalten"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("too_dark =", "to_dark =", "has the code 'to_dark', wanted: misplaced"),
        ('too_dark = "Turn on a light"\n', "", "has no text for too_dark"),
        ('"Turn on a light"', '""', "the text of too_dark is '', wanted one line"),
        ('"Turn on a light"', "3", "the text of too_dark is 3, wanted one line"),
        ('"Turn on a light"', "", "is not TOML"),
    ],
)
def test_a_wrong_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "de.toml"
    path.write_text(ENGLISH.read_text("utf-8").replace(old, new), "utf-8")
    with pytest.raises(InputError, match=message):
        read_texts(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml cannot be read: No such file or directory; copy sdk/decision"):
        QualityScorer(device="cpu", reasons=tmp_path / "none.toml")
