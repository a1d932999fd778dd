"""The report in a real browser, where there is one."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from sdk import ModelCard, find_reasons
from sdk.decision.measures import make_measure
from sdk.results_io.report import Origin, write_page
from sdk.results_io.rows import csv_text
from sdk.results_io.scored_face import ScoredFace
from sdk.results_io.scoring import _jpeg
from sdk.results_io.tally import Tally
from tests.support.browser import browser_page, needs_browser
from tests.support.tiny_models import faces

SCORES = (0.9, 0.8, 0.62, 0.5, 0.3, 0.2)


@pytest.fixture
def rows(tmp_path: Path) -> list[ScoredFace]:
    """A photo of 400 x 200 for each score, with a face at 100, 50."""
    found = []
    for index, (score, crop) in enumerate(zip(SCORES, faces(len(SCORES)), strict=True)):
        path = tmp_path / f"photo {index}.png"
        cv2.imwrite(str(path), np.full((200, 400, 3), 40 * index, np.uint8))
        found.append(ScoredFace(path, 0, score, (100, 50, 80, 100), 0.9, thumbnail=_jpeg(crop), accepted=score >= 0.6))
    return found


@needs_browser
def test_what_a_user_does_with_the_page(rows: list[ScoredFace], tmp_path: Path) -> None:
    """Move the threshold, filter, open a photo, save the selection."""
    tally = Tally(200)
    for row in rows:
        tally.add([replace(row)])
    page = tmp_path / "pages" / "report.html"
    write_page(page, tally, Origin(ModelCard("tiny"), "cpu", 1.0, 0.6))
    with browser_page(viewport={"width": 1100, "height": 900}) as (view, expect):
        requested: list[str] = []
        view.on("request", lambda request: requested.append(request.url))
        view.goto(page.as_uri())
        expect(view.locator("#would")).to_have_text("3 of 6 faces would be rejected (50.0 %)")
        expect(view.locator("figure.rejected")).to_have_count(3)
        assert [url for url in requested if not url.startswith("data:")] == [page.as_uri()]

        view.locator("#limit").fill("0.7")
        expect(view.locator("#would")).to_have_text("4 of 6 faces would be rejected (66.7 %)")
        view.locator("#which").select_option("accepted")
        expect(view.locator("#count")).to_have_text("shown: 2 of 6")
        with view.expect_download() as download:
            view.locator("#save").click()
        saved = Path(download.value.path()).read_bytes().decode()
        assert saved.replace("\r\n", "\n") == csv_text(rows[:2], header=True, end="\n")

        view.locator("#reset").click()
        expect(view.locator("#count")).to_have_text("shown: 6 of 6")
        view.locator("#name").fill("PHOTO 3")
        expect(view.locator("#count")).to_have_text("shown: 1 of 6")
        view.locator("figure:visible a").click()
        photo, box = view.locator("#whole"), view.locator("#box")
        expect(photo).to_have_js_property("naturalWidth", 400)
        expect(box).to_be_visible()
        whole, marked = photo.bounding_box(), box.bounding_box()
        assert marked["x"] - whole["x"] == pytest.approx(whole["width"] / 4, abs=2)
        assert marked["width"] == pytest.approx(whole["width"] / 5, abs=3)
        assert marked["height"] == pytest.approx(whole["height"] / 2, abs=3)
        view.keyboard.press("Escape")
        expect(view.locator("dialog")).not_to_be_visible()


@needs_browser
@pytest.mark.parametrize(("theme", "paper"), [("light", "rgb(246, 247, 249)"), ("dark", "rgb(16, 19, 23)")])
def test_reasons_are_shown_and_choose_faces(rows: list[ScoredFace], tmp_path: Path, theme: str, paper: str) -> None:
    """Filter by a reason, save what is left; in both themes."""
    tally = Tally(200)
    wrong = ({}, {"yaw": 50.0}, {"darkness": 4.0, "yaw": 50.0}, {"darkness": 2.0}, {"blur": 9.0}, {})
    for index, (row, values) in enumerate(zip(rows, wrong, strict=True)):
        reasons = find_reasons({name: make_measure(name, value) for name, value in values.items()})
        tally.add([replace(row, reasons=reasons)])
        rows[index] = replace(row, reasons=reasons)
    write_page(tmp_path / "report.html", tally, Origin(ModelCard("tiny"), "cpu", 1.0, 0.6))
    with browser_page(viewport={"width": 360, "height": 800}, color_scheme=theme) as (view, expect):
        view.goto((tmp_path / "report.html").as_uri())
        expect(view.locator("body")).to_have_css("background-color", paper)
        expect(view.locator("#why option")).to_have_text(
            ["any reason", "turned (2)", "too dark (2)", "blurred (1)", "no reason"]
        )
        expect(view.locator("figure .why")).to_have_text(
            ["Look straight into the camera", "Turn on a light", "Turn on a light", "Hold still, and clean the lens"]
        )
        view.locator("#why").select_option("too_dark")
        expect(view.locator("#count")).to_have_text("shown: 2 of 6")
        view.locator("#which").select_option("rejected")
        expect(view.locator("#count")).to_have_text("shown: 1 of 6")
        with view.expect_download() as download:
            view.locator("#save").click()
        saved = Path(download.value.path()).read_bytes().decode()
        assert saved.replace("\r\n", "\n") == csv_text(rows[3:4], header=True, end="\n")
        view.locator("#reset").click()
        view.locator("#why").select_option("none")
        expect(view.locator("#count")).to_have_text("shown: 2 of 6")
        assert view.evaluate("document.documentElement.scrollWidth") <= 360


@needs_browser
@pytest.mark.parametrize("width", [360, 1100])
def test_text_is_legible_and_nothing_sticks_out(rows: list[ScoredFace], tmp_path: Path, width: int) -> None:
    tally = Tally(200)
    for row in rows:
        tally.add([row])
    write_page(tmp_path / "report.html", tally, Origin(ModelCard("tiny"), "cpu", 1.0))
    with browser_page(viewport={"width": width, "height": 800}) as (view, expect):
        view.goto((tmp_path / "report.html").as_uri())
        expect(view.locator(".ticks span")).to_have_text(["0", "0.2", "0.4", "0.6", "0.8", "1"])
        heights = view.locator(".ticks span").evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")
        assert min(heights) >= 12
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        expect(view.locator("#would")).to_contain_text("move the slider")
        expect(view.locator("figure.rejected")).to_have_count(0)
