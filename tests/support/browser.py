"""A real browser, where there is one."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox", "--no-first-run", "--disable-quic", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium: apt install chromium")


@contextmanager
def browser_page(**options: Any) -> Iterator[tuple[Any, Any]]:
    """Give a page of a browser and playwright's `expect`. An error of a page's script fails the test."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    problems: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        view = browser.new_page(**options)
        view.on("pageerror", lambda error: problems.append(str(error)))
        yield view, playwright.expect
        browser.close()
    assert problems == []
