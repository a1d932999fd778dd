"""A page for boards without a screen: the picture, the counters, best shots, scores over time, and a health check.

`sdk.video.web.http` serves it: five addresses, a handful of viewers, and nothing to install on the board.
"""

import asyncio
import base64
import hashlib
import json
import logging
import re
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.video.best_shot import TrackShots
from sdk.video.frames import FrameResult
from sdk.video.meter import Counters
from sdk.video.overlay import Overlay
from sdk.video.web.http import Answer, Server

log = logging.getLogger(__name__)

PICTURES_PER_SECOND = 12
"""Of the live picture; a frame is encoded only when somebody looks, once for all."""

PICTURE_WIDTH = 1280
"""Widest live picture, pixels."""

VIEWERS = 8
"""Most live pictures at once."""

SHOTS, POINTS = 24, 600
"""Best shots and scores that the page remembers."""

UNHEALTHY = 10.0
"""A stream is unhealthy when its source has given nothing for so many seconds."""

BOUNDARY = "frame"


class Page:
    """Serves a running stream.

    Args:
        name: The source, as shown.
        counters: Gives the stream's counters.
        port: 0 for any that is free; see `address`.
        host: Whom to answer: this machine alone, unless told otherwise. There is no password.
        overlay: Draws the picture.

    Raises:
        InputError: The port cannot be had.
    """

    def __init__(
        self,
        name: str,
        counters: Callable[[], Counters],
        port: int,
        host: str = "127.0.0.1",
        overlay: Overlay | None = None,
    ) -> None:
        self._name = name
        self._counters = counters
        self._overlay = overlay or Overlay()
        self._lock = threading.Lock()
        self._result: FrameResult | None = None
        self._encoded: tuple[int, bytes] = (-1, b"")
        self._shots: deque[tuple[dict[str, Any], bytes]] = deque(maxlen=SHOTS)
        self._made = 0
        self._points: deque[tuple[float, int, float]] = deque(maxlen=POINTS)
        self._started = time.monotonic()
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
        with self._aside(), self._lock:
            self._overlay.note(result)
            self._result = result
            self._points.extend(
                (round(result.timestamp, 3), face.track, round(face.score, 4))
                for face in result.faces
                if face.score is not None
            )

    def add(self, word: TrackShots) -> None:
        """Take in a track's best shot."""
        if not word.shots:
            return
        with self._aside():
            best = word.shots[0]
            data = cv2.imencode(".jpg", best.picture)[1].tobytes()
            with self._lock:
                self._made += 1
                about = {"id": self._made, "track": word.track, "score": round(best.score, 3), "final": word.final}
                self._shots.append((about, data))

    @contextmanager
    def _aside(self) -> Iterator[None]:
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

    def state(self) -> dict[str, Any]:
        """All that the page shows, but for pictures."""
        counters = asdict(self._counters())
        with self._lock:
            return {
                "name": self._name,
                "healthy": self.healthy(),
                "counters": counters,
                "shots": [about for about, _ in self._shots],
                "scores": list(self._points),
            }

    def healthy(self) -> bool:
        """Whether the source gave a frame lately."""
        age = self._counters().age
        return (time.monotonic() - self._started if age is None else age) < UNHEALTHY

    def shot(self, number: int) -> bytes | None:
        """JPEG of a best shot; None when it is gone."""
        with self._lock:
            return next((data for about, data in self._shots if about["id"] == number), None)

    def picture(self, after: int) -> tuple[int, bytes] | None:
        """The newest frame as JPEG, newer than the one of index `after`; None when there is none. For one thread."""
        with self._lock:
            result = self._result
            if result is None or result.index <= after:
                return None
            drawn = None if self._encoded[0] == result.index else self._overlay.draw(result, self._counters())
        if drawn is not None:
            self._encoded = (result.index, _jpeg(drawn))
        return self._encoded

    def _answer(self, path: str) -> Answer:
        if path == "/":
            return Answer(200, "text/html; charset=utf-8", self._html)
        if path == "/state":
            return _json(200, self.state())
        if path == "/health":
            return _json(200, {"status": "ok"}) if self.healthy() else _json(503, {"status": "no frames"})
        if path == "/stream":
            if self._viewers >= self._most_viewers:
                return Answer(503, "text/plain", b"too many viewers\n")
            return Answer(200, f"multipart/x-mixed-replace; boundary={BOUNDARY}", self._stream())
        match = re.fullmatch(r"/shots/([0-9]{1,9})\.jpg", path)
        data = None if match is None else self.shot(int(match[1]))
        return Answer(404, "text/plain", b"not here\n") if data is None else Answer(200, "image/jpeg", data)

    async def _stream(self) -> AsyncGenerator[bytes, None]:
        self._viewers += 1
        try:
            index = -1
            while True:
                found = self.picture(index)
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
    """Headers of every answer: only the page's own script and style run, and no other site sees or frames anything."""
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


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    if image.shape[1] > PICTURE_WIDTH:
        size = PICTURE_WIDTH, max(1, round(image.shape[0] * PICTURE_WIDTH / image.shape[1]))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 80))[1].tobytes()
