"""Take the pictures of pages that docs/ shows: the report, the page of `fiqa video`, and the page in the browser.

    python benchmarks/screenshots.py LONDON OUT

Run it after a new model or a change of a page, look at the pictures, and copy them to docs/images. LONDON is the
unpacked Face Research Lab London Set. It needs Chromium, playwright, and onnxruntime-web (examples/browser/build.py).
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import cv2
import numpy as np
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from draw_people import faulty
from media.make_clip import HEIGHT, RATE, WIDTH, clip_frames

from fiqa import QualityScorer, load_image

PEOPLE = 24
"""Photos of the report; every second one gets a fault."""
PORT = 8917
BLURRED = slice(116, 122)
"""Frames of the clip in which the face is out of focus. When the clip is shown again, it stays so."""
LARGE, PHONE = ViewportSize(width=1180, height=985), ViewportSize(width=390, height=844)


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("london", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        take_report(browser, options.london, Path(folder), options.out)
        take_video(browser, Path(folder), options.out)
        take_browser(browser, Path(folder), options.out)


def take_report(browser: Browser, london: Path, folder: Path, out: Path) -> None:
    """Score portraits, half of them with a fault, and show the worst of them."""
    photos = sorted(london.glob("*/neutral.jpg"))[:PEOPLE]
    (folder / "photos").mkdir()
    with QualityScorer() as scorer:
        for number, path in enumerate(photos):
            photo = load_image(path)
            copies = list(faulty(photo, scorer.assess(photo)[0]).values())
            fault = copies[1 + number // 2 % (len(copies) - 1)] if number % 2 else copies[0]
            cv2.imwrite(str(folder / "photos" / f"{path.parent.name}.jpg"), fault)
    page, table = folder / "report.html", folder / "scores.csv"
    fiqa("score", folder / "photos", "--accept", "enrol", "--reasons", "--report", page, "--out", table)
    views = two_views(browser)
    for view in views:
        view.goto(page.as_uri())
        view.get_by_text("worst first").click()
        view.evaluate("window.scrollTo(0, 180)")
        view.wait_for_timeout(500)
    write_both(views, out / "report.jpg")


def take_video(browser: Browser, folder: Path, out: Path) -> None:
    """Show the page of the example clip, on a large screen and on a phone."""
    clip = folder / "clip.mp4"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (WIDTH, HEIGHT))
    frames = list(clip_frames())
    for frame in [*frames, *frames[: BLURRED.start], *frames[BLURRED] * 200]:
        writer.write(frame)
    writer.release()
    address = f"http://127.0.0.1:{PORT}"
    words = command("video", clip.name, "--accept", "enrol", "--reasons", "--serve", PORT)
    with subprocess.Popen(words, stderr=subprocess.DEVNULL, cwd=folder) as process:
        views = two_views(browser)
        wait_for_frame(address, len(frames) + BLURRED.stop)
        for view in views:
            view.goto(address)
            view.get_by_text("Hold still").wait_for()
        write_both(views, out / "video-page.jpg")
        process.terminate()


def two_views(browser: Browser) -> list[Page]:
    """Open a large light page and a dark one of a phone's width, of the same height."""
    return [
        browser.new_page(viewport=LARGE),
        browser.new_page(viewport=ViewportSize(width=PHONE["width"], height=LARGE["height"]), color_scheme="dark"),
    ]


def write_both(views: list[Page], path: Path) -> None:
    """Write what both pages show, side by side."""
    shots = [np.frombuffer(view.screenshot(), np.uint8) for view in views]
    large, phone = (np.asarray(cv2.imdecode(shot, cv2.IMREAD_COLOR)) for shot in shots)
    gap = np.full((len(large), 16, 3), 255, np.uint8)
    cv2.imwrite(str(path), np.hstack([large, gap, phone]), [cv2.IMWRITE_JPEG_QUALITY, 85])


def wait_for_frame(address: str, number: int) -> None:
    """Wait until the page, which may not be there yet, has shown that many frames."""
    while True:
        try:
            with urlopen(f"{address}/state") as answer:
                if json.load(answer)["counters"]["scored"] >= number:
                    return
        except OSError:
            pass
        time.sleep(0.02)


def take_browser(browser: Browser, folder: Path, out: Path) -> None:
    """Show the page that scores in the browser, with its example, on a large screen and on a phone."""
    build = Path(__file__).parents[1] / "examples/browser/build.py"
    subprocess.run([sys.executable, build, folder / "page"], check=True)
    with served(folder / "page") as address:
        for name, size in (("browser.jpg", ViewportSize(width=1200, height=860)), ("browser-phone.jpg", PHONE)):
            view = browser.new_page(viewport=size)
            view.goto(address)
            view.get_by_role("button", name="Try an example").click()
            view.locator("#faces li").first.wait_for()
            view.screenshot(path=out / name, type="jpeg", quality=85)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder; give its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def command(*words: Any) -> list[str]:
    """Return a command of fiqa as this Python runs it."""
    return [sys.executable, "-c", "from sdk.commands.app import app; app()", *map(str, words)]


def fiqa(*words: Any) -> None:
    """Run a command of fiqa."""
    subprocess.run(command(*words), check=False)  # 4 where faces are rejected


if __name__ == "__main__":
    main()
