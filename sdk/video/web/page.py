"""A page for boards without a screen: the picture, the counters, best shots, scores over time, and a health check.

`sdk.video.web.http` serves it, so a board needs no further package.
"""

import asyncio
import base64
import hashlib
import json
import logging
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

from sdk.video.best_shot import TrackShots
from sdk.video.frames import FrameResult
from sdk.video.meter import Counters
from sdk.video.web.content import About, Content
from sdk.video.web.http import Answer, Server

log = logging.getLogger(__name__)

PICTURES_PER_SECOND = 12
"""Most live pictures per second. A frame is encoded only when somebody looks, and once for all viewers."""

VIEWERS = 8
"""Most viewers of the live picture at once."""

BOUNDARY = "frame"


class Page:
    """Serve a page about a running stream.

    Args:
        about: What the page is about.
        counters: Returns the counters of the stream.
        port: 0 for any that is free; see `address`.
        host: Address of this machine on which the page is served. There is no password.

    Raises:
        InputError: The port cannot be used.
    """

    def __init__(self, about: About, counters: Callable[[], Counters], port: int, host: str = "127.0.0.1") -> None:
        self._content = Content(about, counters)
        self._viewers = 0
        self._failed = False
        self._html = (files("sdk.video.web") / "page.html").read_bytes()
        self._server = Server(self._answer, _headers(self._html), host, port)
        self._most_viewers = max(1, min(VIEWERS, self._server.most // 2))
        self._server.start()

    @property
    def address(self) -> str:
        """URL of the page."""
        return self._server.address

    def show(self, result: FrameResult) -> None:
        """Take in a frame."""
        with self._errors_logged():
            self._content.add_result(result)

    def add(self, found: TrackShots) -> None:
        """Take in the best shot of a track."""
        with self._errors_logged():
            self._content.add_shots(found)

    @contextmanager
    def _errors_logged(self) -> Iterator[None]:
        """Log an error of the page, the first time, and let the stream go on."""
        try:
            yield
        except Exception:
            if not self._failed:
                log.exception("the page does not show everything; the stream goes on")
            self._failed = True

    def close(self) -> None:
        """Stop serving."""
        self._server.close()

    def _answer(self, path: str) -> Answer:
        if path == "/":
            return Answer(200, "text/html; charset=utf-8", self._html)
        if path == "/state":
            return _json(200, self._content.state())
        if path == "/health":
            return _json(200, {"status": "ok"}) if self._content.is_healthy() else _json(503, {"status": "no frames"})
        if path == "/stream":
            if self._viewers >= self._most_viewers:
                return Answer(503, "text/plain", b"too many viewers\n")
            return Answer(200, f"multipart/x-mixed-replace; boundary={BOUNDARY}", self._stream())
        match = re.fullmatch(r"/shots/([0-9]{1,9})\.jpg", path)
        data = None if match is None else self._content.shot(int(match[1]))
        return Answer(404, "text/plain", b"not here\n") if data is None else Answer(200, "image/jpeg", data)

    async def _stream(self) -> AsyncGenerator[bytes, None]:
        self._viewers += 1
        try:
            index = -1
            while True:
                found = self._content.picture(index)
                if found is not None:
                    index, data = found
                    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    yield head.encode() + data + b"\r\n"
                await asyncio.sleep(1 / PICTURES_PER_SECOND)
        finally:
            self._viewers -= 1


def _json(status: int, values: dict[str, Any]) -> Answer:
    return Answer(status, "application/json", json.dumps(values, allow_nan=False).encode())


def _headers(html: bytes) -> dict[str, str]:
    """Return the headers of every answer: only the page's own script and style run, and no other site may use it."""
    parts = {}
    for tag in (b"script", b"style"):
        found = re.search(rb"<%b>(.*?)</%b>" % (tag, tag), html, re.DOTALL)
        assert found is not None
        parts[tag] = f"'sha256-{base64.b64encode(hashlib.sha256(found[1]).digest()).decode()}'"
    return {
        "Server": "fiqa",
        "Cache-Control": "no-store",
        "Content-Security-Policy": (
            f"default-src 'none'; script-src {parts[b'script']}; style-src {parts[b'style']}; img-src 'self'; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
