"""The page that scores in the browser: its arithmetic is the SDK's, and nothing leaves the machine."""

import base64
import json
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sdk import FaceQuality, QualityScorer, align
from tests.support.browser import browser_page, needs_browser

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "examples/browser/build.py"
BUILDER = runpy.run_path(str(BUILD))
PEOPLE = ROOT / "docs/images/people.jpg"
ASSESS = """async ([url, text]) => {
    const { assess, read } = await import(url);
    return assess(await read(new Blob([Uint8Array.from(atob(text), letter => letter.charCodeAt(0))])));
}"""
REFUSED = "url => fetch(url).then(() => 'answered', error => error.name)"

needs_package = pytest.mark.skipif(
    not BUILDER["KEPT"].is_file(), reason="needs onnxruntime-web: python examples/browser/build.py build/browser"
)


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and prints nothing."""

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as it is built; without onnxruntime-web where that is not here."""
    out = tmp_path_factory.mktemp("page")
    if BUILDER["KEPT"].is_file():
        BUILDER["build"](out, BUILDER["KEPT"])
        return out
    for name in BUILDER["PAGE"]:
        (out / name).write_bytes((BUILD.parent / name).read_bytes())
    (out / "facts.json").write_text(json.dumps(BUILDER["facts"]()))
    return out


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """A server of the page."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: Quiet(*given, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    """The page in a browser, shared: loading the networks takes a while."""
    with browser_page(viewport={"width": 390, "height": 844}, color_scheme="dark") as (view, _):
        view.goto(address)
        yield view


@pytest.fixture(scope="module")
def scorer() -> QualityScorer:
    return QualityScorer("fiqa-nano", "cpu", threads=1, reasons=True)


def people() -> NDArray[np.uint8]:
    """30 faces: six people, as taken and damaged."""
    return np.asarray(cv2.imread(str(PEOPLE)), np.uint8)


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png(image: NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(".png", image)[1])


@needs_browser
@pytest.mark.parametrize("size", [(458, 390), (256, 218), (305, 260), (1, 1), (1024, 872), (917, 781), (1500, 1277)])
def test_pictures_are_scaled_as_by_opencv(page: Any, size: tuple[int, int]) -> None:
    """Smaller by halves, by any factor, and larger: at most one level off, in less than a pixel of a hundred."""
    image = people()
    mode = cv2.INTER_AREA if size[0] < image.shape[1] else cv2.INTER_LINEAR
    given = [text(image.tobytes()), image.shape[1], image.shape[0], *size]
    script = """async ([text, width, height, ...size]) => {
        const { resize } = await import("/pixels.js");
        const data = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
        const made = resize({ data, width, height }, ...size).data;
        let letters = "";
        for (const value of made) letters += String.fromCharCode(value);
        return btoa(letters);
    }"""
    found = np.frombuffer(base64.b64decode(page.evaluate(script, given)), np.uint8).reshape(size[1], size[0], 3)
    off = np.abs(found.astype(int) - cv2.resize(image, size, interpolation=mode))
    assert off.max() <= 1
    assert np.count_nonzero(off) < 0.01 * off.size


@needs_browser
def test_crops_are_those_of_the_sdk(page: Any) -> None:
    """A crop that lies partly outside of the picture, turned."""
    landmarks = [(20.5, 30.25), (70.0, 12.0), (60.5, 55.0), (50.0, 85.0), (92.5, 70.75)]
    image = people()[40:200, 170:300]
    given = [text(image.tobytes()), image.shape[1], image.shape[0], landmarks, BUILDER["facts"]()]
    script = """async ([text, width, height, landmarks, facts]) => {
        const { align } = await import("/alignment.js");
        const data = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
        return [...align({ data, width, height }, landmarks, facts).data];
    }"""
    found = np.array(page.evaluate(script, given)).reshape(112, 112, 3)
    wanted = align(image, landmarks)
    assert np.count_nonzero(wanted.max(-1) == 0) > 100
    assert np.abs(found - wanted).max() <= 1


@needs_browser
@needs_package
@pytest.mark.slow
@pytest.mark.parametrize("picture", ["people", "part", "small", "large"])
def test_faces_are_those_of_the_sdk(page: Any, address: str, scorer: QualityScorer, picture: str) -> None:
    """Six people, as taken and damaged; three faces; faces of 27 pixels; one that fills the picture."""
    image = people()
    part = image[:112, 112:220]
    data = png({
        "people": image,
        "part": image[:200, 100:500],
        "small": cv2.resize(image, (300, 256), interpolation=cv2.INTER_AREA),
        "large": cv2.resize(part, None, fx=6.3, fy=6.3, interpolation=cv2.INTER_CUBIC),
    }[picture])  # fmt: skip
    found, wanted = assess(page, address, data), scorer.assess(data)
    pairs = match(found, wanted)
    assert max(np.abs(np.array(one["box"]) - other.box).max() for one, other in pairs) < 0.01
    assert max(abs(one["score"] - other.score) for one, other in pairs) < 1e-3
    for one, other in pairs:
        assert abs(one["quality"] - (other.quality or 0)) <= 1
        assert [reason["code"] for reason in one["reasons"]] == [reason.code for reason in other.reasons or ()]
        values = {name: measure.value for name, measure in (other.measures or {}).items() if name != "faces"}
        assert one["measures"] == pytest.approx(values, rel=0.02, abs=0.2)


@needs_browser
@needs_package
@pytest.mark.slow
def test_a_jpeg_is_decoded_as_by_opencv(page: Any, address: str, scorer: QualityScorer) -> None:
    data = PEOPLE.read_bytes()
    pairs = match(assess(page, address, data), scorer.assess(data))
    assert max(abs(one["score"] - other.score) for one, other in pairs) < 1e-3


@needs_browser
@needs_package
@pytest.mark.slow
def test_what_a_user_does(page: Any, address: str, scorer: QualityScorer, tmp_path: Path) -> None:
    """Choose a picture, look at the faces by keyboard, change the threshold, on a phone; no other host is asked."""
    path = tmp_path / "people.png"
    path.write_bytes(png(people()[:480, 100:500]))
    scores = np.array([face.score for face in scorer.assess(path)])
    enrol, identify = (scorer.calibration.threshold(name).score for name in ("enrol", "identify"))  # type: ignore[union-attr]
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.reload()
    page.locator("#file").set_input_files(path)
    page.locator("#faces > li").first.wait_for(timeout=120_000)
    assert page.locator("#status").text_content() == f"{len(scores)} faces, {(scores >= enrol).sum()} accepted"
    assert page.locator("#boxes button").count() == len(scores) == 9
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    picture, boxes = page.locator("#picture").bounding_box(), page.locator("#boxes").bounding_box()
    assert boxes == pytest.approx(picture, abs=1)

    page.locator("#accept").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement === document.querySelector('#faces > li')")
    assert page.locator("#boxes button.chosen").count() == 1
    page.locator("#accept").select_option(label=f"identification: from score {identify:.2f}")
    accepted = page.locator(".accepted", has_text="accepted").count()
    assert accepted == (scores >= identify).sum() > (scores >= enrol).sum()
    assert "ms a face" in page.locator("#time").text_content()

    page.locator("#file").set_input_files({"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"no picture"})
    page.locator("#status.problem").wait_for()
    assert page.locator("#status").text_content() == "This file is no picture that the browser can read."
    assert {url.split("/")[2] for url in requested if url.startswith("http")} == {address.split("/")[2]}


@needs_browser
@needs_package
@pytest.mark.slow
def test_the_camera_is_scored_until_it_is_stopped(page: Any) -> None:
    """The camera is a canvas with the example."""
    page.evaluate("""async () => {
        const bitmap = await createImageBitmap(await (await fetch("example.jpg")).blob(), 110, 0, 400, 240);
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [400, 240];
        setInterval(() => canvas.getContext("2d").drawImage(bitmap, 0, 0), 100);  // a still canvas gives no frames
        navigator.mediaDevices.getUserMedia = async () => window.taken = canvas.captureStream(5);
    }""")
    page.locator("#live").click()
    page.locator("#status", has_text="faces, ").wait_for(timeout=60_000)
    assert page.locator("#camera").is_visible()
    page.locator("#live", has_text="Stop the camera").click()
    assert page.evaluate("window.taken.getTracks().map(track => track.readyState)") == ["ended"]
    assert page.locator("#camera").is_hidden()


@needs_browser
@needs_package
def test_no_other_host_can_be_asked(page: Any, folder: Path) -> None:
    """Neither by the page nor by the engine beside it, which has the picture."""
    asked: list[str] = []

    class Elsewhere(Quiet):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

    with ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: Elsewhere(*given, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        other = f"http://127.0.0.1:{server.server_port}/facts.json"
        assert page.evaluate(REFUSED, other) == "TypeError"
        assert page.workers[0].evaluate(REFUSED, other) == "TypeError"
        assert asked == []
        server.shutdown()


def test_another_package_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "package.tgz"
    package.write_bytes(b"something else")
    command = [sys.executable, str(BUILD), str(tmp_path / "out"), "--package", str(package)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{package} has the digest sha512-")
    assert not (tmp_path / "out").exists()


def test_without_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILDER["fetch"].__globals__, "KEPT", tmp_path / "package.tgz")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BUILDER["NoPackageError"], match="npm is missing"):
        BUILDER["fetch"]()


def assess(page: Any, address: str, data: bytes) -> list[dict[str, Any]]:
    """Faces that the engine finds, in the worker in which the page has it."""
    while not page.workers:  # it starts when the page has loaded
        page.wait_for_event("worker")
    found = page.workers[0].evaluate(ASSESS, [f"{address}worker.js", text(data)])
    return list(found["faces"])


def match(found: list[dict[str, Any]], wanted: list[FaceQuality]) -> list[tuple[dict[str, Any], FaceQuality]]:
    """Pairs by place: the order of boxes of equal size is open."""
    assert len(found) == len(wanted)
    return [(min(found, key=lambda one: np.abs(np.array(one["box"]) - face.box).max()), face) for face in wanted]
