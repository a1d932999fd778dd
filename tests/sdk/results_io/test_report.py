"""The HTML page: everything is in it, and nothing outside it."""

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdk import ModelCard, find_reasons
from sdk.decision.measures import make_measure
from sdk.decision.texts import default_texts
from sdk.images.decoding import load_image
from sdk.results_io.report import Origin, make_page, write_page
from sdk.results_io.report_parts import round_ticks
from sdk.results_io.rows import csv_text
from sdk.results_io.scored_face import ScoredFace
from sdk.results_io.scoring import _jpeg
from sdk.results_io.tally import Tally
from tests.support.tiny_models import faces

ORIGIN = Origin(ModelCard("tiny", licence="Apache-2.0", summary="For <tests>"), "cpu", 1.5)
SCORES = (0.25, 0.9, 0.5)
CROPS = faces(3)
ROWS = [
    ScoredFace(Path(f"folder/{index}.png"), 0, score, (1, 2, 3, 4), 0.8, thumbnail=_jpeg(crop))
    for index, (score, crop) in enumerate(zip(SCORES, CROPS, strict=True))
]
FAILED = ScoredFace(Path('bad<script>alert("x")</script>.jpg'), error="not an image & <more>")


def data_of(page: str) -> dict[str, Any]:
    """What the script of a page counts with."""
    return json.loads(re.findall(r'id="data">(.*?)</script>', page)[0])


def tally(rows: Iterable[ScoredFace], keep: int = 200) -> Tally:
    """Add up faces of a file each."""
    added = Tally(keep)
    for row in rows:
        added.add([row])
    return added


class Elements(HTMLParser):
    """Collects every element with its attributes, and checks that they nest."""

    VOID = ("meta", "img", "input")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.feed(page)
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_faces_are_sorted_and_their_pictures_inside() -> None:
    elements = Elements(make_page(tally([*ROWS, FAILED]), ORIGIN))
    assert [figure["data-score"] for figure in elements.of("figure")] == ["0.900000", "0.500000", "0.250000"]
    for image, index in zip(elements.of("img")[:3], (1, 2, 0), strict=True):
        kind, _, data = str(image["src"]).partition(",")
        assert kind == "data:image/jpeg;base64"
        picture = load_image(base64.b64decode(data)).astype(int)
        assert np.abs(picture - CROPS[index]).mean() < 12


def test_nothing_is_loaded_from_outside() -> None:
    page = make_page(tally([*ROWS, FAILED]), ORIGIN)
    assert not re.search(r"https?://|@import|url\(|<link|<script src", page)
    assert [script.get("type") for script in Elements(page).of("script")] == ["application/json", None]


def test_names_and_reasons_are_escaped() -> None:
    page = make_page(tally([*ROWS, FAILED]), ORIGIN)
    cells = re.findall(r"<td>(.*?)</td>", page)
    assert [unescape(cell) for cell in cells] == [str(FAILED.path), FAILED.error]
    assert "<script>alert" not in page
    assert "For &lt;tests&gt;" in page


def test_histogram_counts_every_face() -> None:
    rows = [ScoredFace(Path("a.png"), index, float(score)) for index, score in enumerate(np.linspace(-0.25, 1.3, 200))]
    page = make_page(tally(rows), ORIGIN)
    counts = [int(count) for count in re.findall(r"<title>-?[\d.]+ to -?[\d.]+: (\d+) faces</title>", page)]
    assert sum(counts) == 200
    bars = Elements(page).of("rect")
    assert float(str(bars[0]["data-from"])) == pytest.approx(-0.3)
    assert float(str(bars[-1]["data-to"])) == pytest.approx(1.3)
    assert max(float(str(bar["height"])) for bar in bars) == pytest.approx(180)


@pytest.mark.parametrize("rows", [[], [FAILED], ROWS[:1]])
def test_small_pages(rows: list[ScoredFace], tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_page(path, tally(rows), ORIGIN)
    elements = Elements(path.read_text(encoding="utf-8"))
    assert len(elements.of("figure")) == sum(row.score is not None for row in rows)
    assert len(elements.of("table")) == sum(row.score is None for row in rows)


def test_a_page_does_not_grow() -> None:
    thumbnail = _jpeg(CROPS[0])
    scores = np.random.default_rng(0).permutation(3000) / 3000
    rows = [ScoredFace(Path(f"{score:.4f}.png"), 0, float(score), thumbnail=thumbnail) for score in scores]
    failed = [ScoredFace(Path(f"bad-{index}.png"), error=f"reason {index % 50}") for index in range(1000)]
    page = make_page(tally([*rows, *failed], keep=10), ORIGIN)
    figures = Elements(page).of("figure")
    best, worst = (
        [f"{index / 3000:.4f}.png" for index in range(2999, 2989, -1)],
        [f"{index / 3000:.4f}.png" for index in range(9, -1, -1)],
    )
    assert [figure["data-name"] for figure in figures] == best + worst
    assert re.findall(r"<small>#([\d,]+)", page) == [f"{rank:,}" for rank in (*range(1, 11), *range(2991, 3001))]
    assert "The 10 best and the 10 worst of 3,000 faces." in page
    assert "Without a score (1,000)" in page
    assert "The first 200:" in page
    assert len(re.findall("bad-", page)) == 200
    assert "<tr><td>20</td><td>reason 0</td></tr>" in page
    assert "<tr><td>400</td><td>others</td></tr>" in page
    assert len(page) < 20 * 2 * len(thumbnail) + 90_000
    assert "<figure" not in make_page(tally(rows, keep=0), ORIGIN)


def test_the_slider_knows_how_many_faces_lie_below() -> None:
    scores = np.random.default_rng(0).uniform(-0.2, 1.2, 5000).round(4)
    data = data_of(make_page(tally([ScoredFace(Path("a.png"), 0, float(score)) for score in scores], keep=5), ORIGIN))
    below = data["below"]
    assert (data["faces"], len(below), below[0], below[-1]) == (5000, 1401, 0, 5000)
    for step in (1, 200, 700, 1399):
        assert below[step] == (scores < round(-0.2 + step / 1000, 3) - 1e-9).sum()


def test_what_the_run_decided_is_on_the_page() -> None:
    rows = [replace(row, accepted=row.score >= 0.4321, quality=50, face=1) for row in ROWS]
    page = make_page(tally(rows), replace(ORIGIN, threshold=0.4321), folder=Path("folder/pages"))
    data = data_of(page)
    assert (data["threshold"], data["rejected"]) == (0.4321, 1)
    assert "<dt>rejected</dt><dd>1 of 3</dd>" in page
    figure = Elements(page).of("figure")[0]
    assert (figure["data-box"], figure["data-row"]) == ("1.0 2.0 3.0 4.0", csv_text([rows[1]], end=""))
    assert "<span>quality 50 · 3 px</span><span>face 2 · 1.png</span>" in page
    assert [link["href"] for link in Elements(page).of("a")[:3]] == ["../1.png", "../2.png", "../0.png"]


def test_reasons_are_on_the_cards_in_the_language_of_the_run() -> None:
    dark = {name: make_measure(name, value) for name, value in {"darkness": 4.0, "yaw": 50.0}.items()}
    rows = [replace(ROWS[0], reasons=find_reasons(dark)), replace(ROWS[1], reasons=()), ROWS[2]]
    page = make_page(tally(rows), ORIGIN)
    figures = {figure["data-name"]: figure.get("data-reasons") for figure in Elements(page).of("figure")}
    assert figures == {"folder/0.png": "too_dark turned", "folder/1.png": "", "folder/2.png": None}
    assert re.findall(r'class="why">(.*?)<', page) == ["Turn on a light"]
    texts = {**default_texts(), "too_dark": "Licht <an>"}  # as of a table of codes alone, which is gone on with
    assert re.findall(r'class="why">(.*?)<', make_page(tally(rows), replace(ORIGIN, texts=texts))) == [
        "Licht &lt;an&gt;"
    ]


def test_links_are_paths_whatever_the_name() -> None:
    rows = [ScoredFace(Path(name), 0, 0.5) for name in ("javascript:alert(1).png", "a b#c?d%.png", "\udce9.png")]
    links = [link["href"] for link in Elements(make_page(tally(rows), ORIGIN)).of("a")[:3]]
    assert links == ["javascript%3Aalert%281%29.png", "a%20b%23c%3Fd%25.png", "%E9.png"]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-0.3, 1.3, [0, 0.5, 1]), (0.4, 0.5, [0.4, 0.42, 0.44, 0.46, 0.48, 0.5]),
        (0, 100, [0, 20, 40, 60, 80, 100]), (17, 23.5, [17, 18, 19, 20, 21, 22, 23]),
    ],
)  # fmt: skip
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert round_ticks(low, high) == ticks


def test_pictures_of_faces_that_bring_none() -> None:
    row = ScoredFace(Path("a.png"), 0, 0.5)
    assert "src" not in Elements(make_page(tally([row]), ORIGIN)).of("img")[0]
    page = make_page(tally([row]), ORIGIN, {row: b"picture"})
    assert Elements(page).of("img")[0]["src"] == f"data:image/jpeg;base64,{base64.b64encode(b'picture').decode()}"


def test_names_cannot_turn_the_page_round() -> None:
    name = "x\u202e\x1b[2J\n'\"><img src=x onerror=y>$title&amp;.png"
    rows = [ScoredFace(Path(name), 0, 0.5), ScoredFace(Path(name), error=name)]
    page = make_page(tally(rows), ORIGIN)
    assert not re.search("[\u202e\x1b]", page)
    elements = Elements(page)
    assert len(elements.of("img")) == 2  # the face, and the place for a photo
    assert r"x\u202e\x1b[2J\n" in unescape(page)
    assert elements.of("figure")[0]["data-name"] == "x\\u202e\\x1b[2j\\n'\"><img src=x onerror=y>$title&amp;.png"
