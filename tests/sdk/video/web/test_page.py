"""The page: its addresses, and in a real browser where there is one."""

import http.client
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest

from sdk import InputError, VideoScorer
from sdk.video import BestShots, Counters
from sdk.video.web.content import About
from sdk.video.web.page import VIEWERS, Page
from tests.support.browser import browser_page, needs_browser
from tests.support.squares import BlueScorer, SquareDetector, frame, walk


class Running:
    """A page over a stream that has ended, with the counters that it had."""

    def __init__(self, reasons: bool = False) -> None:
        self.age: float | None = 0.1
        self.page = Page(About("gate <1>", "blue", (0.0, 1.0), 0.5), self.counters, 0)
        shots = BestShots(self.page.add)
        pictures = [*walk(9, score=0.8), frame((200, 20, 60, 0.3), (100, 90, 50, 0.6))]
        with VideoScorer(
            pictures, BlueScorer(accept=0.5, reasons=reasons), SquareDetector(), best_shots=shots
        ) as video:
            for result in video:
                self.page.show(result)
                self.last = result

    def counters(self) -> Counters:
        return Counters(captured=10, scored=9, dropped=1, latency_p50=0.0213, age=self.age)

    def get(self, path: str, host: str | None = None) -> tuple[int, str, bytes]:
        """Status, type and body."""
        connection = http.client.HTTPConnection(self.page.address.split("/")[2], timeout=10)
        connection.request("GET", path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()


@pytest.fixture
def running() -> Iterator[Running]:
    one = Running()
    yield one
    one.page.close()


def test_state(running: Running) -> None:
    status, kind, body = running.get("/state")
    state = json.loads(body)
    assert (status, kind) == (200, "application/json")
    assert (state["name"], state["healthy"], state["counters"]["dropped"]) == ("gate <1>", True, 1)
    assert [(shot["track"], shot["final"]) for shot in state["shots"]] == [
        (1, False), (3, False), (1, True), (3, True)
    ]  # fmt: skip
    assert (state["model"], state["threshold"], state["score_range"]) == ("blue", 0.5, [0.0, 1.0])
    assert [(face["track"], face["quality"], face["accepted"]) for face in state["faces"]] == [
        (2, 30, False), (3, 60, True)
    ]  # fmt: skip
    assert len(state["scores"]) == 11
    assert state["scores"][0] == [0.0, 1, pytest.approx(0.8, abs=0.01)]


@pytest.fixture
def explained() -> Iterator[Running]:
    one = Running(reasons=True)
    yield one
    one.page.close()


def test_state_says_what_is_wrong(explained: Running) -> None:
    state = json.loads(explained.get("/state")[2])
    assert [(face["track"], face["accepted"], face["reasons"]) for face in state["faces"]] == [
        (2, False, [{"code": "too_dark", "text": "Turn on a light"}]), (3, True, [])
    ]  # fmt: skip
    assert [shot["reasons"] for shot in state["shots"]] == [[]] * 4


def test_best_shots_and_what_is_not_there(running: Running) -> None:
    status, kind, body = running.get("/shots/1.jpg")
    picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert (status, kind) == (200, "image/jpeg")
    assert picture.shape == (73, 67, 3)
    for path in ("/shots/99.jpg", "/shots/x.jpg", "/nothing", "/../page.py", "/shots/" + "9" * 5000 + ".jpg"):
        assert running.get(path)[0] == 404


def test_health(running: Running) -> None:
    assert running.get("/health") == (200, "application/json", b'{"status": "ok"}')
    running.age = 11.0
    assert running.get("/health") == (503, "application/json", b'{"status": "no frames"}')


def test_stream_shows_the_newest_frame(running: Running) -> None:
    connection = http.client.HTTPConnection(running.page.address.split("/")[2], timeout=10)
    connection.request("GET", "/stream")
    answer = connection.getresponse()
    assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
    head = b"".join(answer.readline() for _ in range(4)).decode()
    data = answer.read(int(head.split("Content-Length: ")[1]))
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (180, 320, 3)
    connection.close()


def test_viewers_are_limited(running: Running) -> None:
    viewers = []
    for _ in range(VIEWERS):
        connection = http.client.HTTPConnection(running.page.address.split("/")[2], timeout=20)
        connection.request("GET", "/stream")
        viewers.append((connection, connection.getresponse()))
        assert viewers[-1][1].readline() == b"--frame\r\n"
    assert running.get("/stream")[0] == 503
    assert running.get("/health")[0] == 200
    for connection, answer in viewers:
        answer.close()
        connection.close()
    deadline = time.monotonic() + 20
    while running.page._viewers and time.monotonic() < deadline:
        running.page.show(replace(running.last, index=running.last.index + 1))
        time.sleep(0.05)
    assert running.page._viewers == 0


def test_every_answer_keeps_other_sites_out(running: Running) -> None:
    for path in ("/", "/state", "/stream", "/nothing"):
        connection = http.client.HTTPConnection(running.page.address.split("/")[2], timeout=10)
        connection.request("GET", path)
        headers = connection.getresponse().headers
        connection.close()
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'sha256-")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert (headers["X-Content-Type-Options"], headers["X-Frame-Options"]) == ("nosniff", "DENY")
        assert (headers["Cross-Origin-Resource-Policy"], headers["Cache-Control"]) == ("same-origin", "no-store")


def test_only_this_machine_by_its_name(running: Running) -> None:
    port = running.page.address.rsplit(":")[-1].rstrip("/")
    assert running.get("/state", f"localhost:{port}")[0] == 200
    assert running.get("/state", "localhost")[0] == 200
    assert running.get("/state", f"elsewhere.example:{port}")[0] == 403
    assert running.page.address.startswith("http://127.0.0.1:")


def test_a_port_that_is_taken(running: Running) -> None:
    port = int(running.page.address.rsplit(":")[-1].rstrip("/"))
    with pytest.raises(InputError, match=rf"port {port} of 127\.0\.0\.1 cannot be used"):
        Page(About(""), running.counters, port)
    with pytest.raises(InputError, match="port 70000 of 127"):
        Page(About(""), running.counters, 70000)


@needs_browser
@pytest.mark.parametrize(("theme", "paper"), [("light", "rgb(246, 247, 249)"), ("dark", "rgb(20, 23, 26)")])
@pytest.mark.parametrize("width", [360, 1200])
def test_reasons_are_legible_in_both_themes(explained: Running, theme: str, paper: str, width: int) -> None:
    with browser_page(viewport={"width": width, "height": 800}, color_scheme=theme) as (view, expect):
        view.goto(explained.page.address, wait_until="domcontentloaded")
        expect(view.locator("#faces li")).to_have_text(
            ["track 2quality 30Turn on a light", "track 3quality 60accepted"]
        )
        expect(view.locator("#line")).to_have_text("; accepted from 0.5, the broken line")
        expect(view.locator("html")).to_have_css("background-color", paper)
        text, plate, height = view.evaluate(SEEN)  # at once: the page draws its list anew all the time
        assert _contrast(text, plate) >= 4.5
        assert height >= 12
        assert view.evaluate("document.documentElement.scrollWidth") <= width


SEEN = """() => {
  const reason = document.querySelector("#faces li.rejected div");
  return [
    getComputedStyle(reason).color,
    getComputedStyle(reason.parentElement).backgroundColor,
    reason.getBoundingClientRect().height,
  ];
}"""
"""Colours of a reason and of the plate that it stands on, and its height, pixels."""


def _contrast(text: str, plate: str) -> float:
    """Contrast of a text with its plate, as the Web Content Accessibility Guidelines count it."""
    light, dark = sorted((_luminance(text), _luminance(plate)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@needs_browser
def test_in_a_browser(running: Running) -> None:
    """The picture moves, the script fills counters, strip and plot, names are text, and a stall is shown."""
    with browser_page(viewport={"width": 1200, "height": 1000}) as (view, expect):
        view.goto(running.page.address, wait_until="domcontentloaded")  # the picture never ends to load
        expect(view.locator("#source")).to_have_text("gate <1>")
        expect(view.locator("#health")).to_have_text("live")
        expect(view.locator("dt:text-is('dropped') + dd")).to_have_text("1")
        expect(view.locator("dt:text-is('latency p50') + dd")).to_have_text("21 ms")
        expect(view.locator("figure")).to_have_count(4)
        expect(view.locator("#model")).to_have_text("blue")
        expect(view.locator("figcaption").first).to_have_text("track 3quality 60")
        expect(view.locator("#faces li")).to_have_text(["track 2quality 30rejected", "track 3quality 60accepted"])
        expect(view.locator("#faces li.rejected")).to_have_count(1)
        for index in range(100, 110):  # a browser shows a picture when the next one begins
            running.page.show(replace(running.last, index=index))
            view.wait_for_timeout(100)
        expect(view.locator("#picture")).to_have_js_property("naturalWidth", 320)
        for image in view.locator("figure img").all():
            expect(image).to_have_js_property("complete", True)
            expect(image).not_to_have_js_property("naturalWidth", 0)
        view.wait_for_timeout(600)
        plot = cv2.imdecode(np.frombuffer(view.locator("#plot").screenshot(), np.uint8), cv2.IMREAD_COLOR).astype(int)
        assert (np.ptp(plot, axis=2) > 60).sum() > 11 * 5  # so many coloured points, and the threshold's line
        running.age = 60.0
        expect(view.locator("#health")).to_have_text("no frames")
