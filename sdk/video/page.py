"""A page for boards without a screen: the picture, the counters, best shots, scores over time, and a health check.

The standard library's server does: five addresses, a handful of viewers, and nothing to install on the board.
"""

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from ipaddress import ip_address
from typing import Any, ClassVar
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError
from sdk.video.best_shot import TrackShots
from sdk.video.frames import FrameResult
from sdk.video.meter import Counters
from sdk.video.overlay import Overlay

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
        self._changed = threading.Condition()
        self._result: FrameResult | None = None
        self._encoded: tuple[int, bytes] = (-1, b"")
        self._encoding = threading.Lock()
        self._shots: deque[tuple[dict[str, Any], bytes]] = deque(maxlen=SHOTS)
        self._made = 0
        self._points: deque[tuple[float, int, float]] = deque(maxlen=POINTS)
        self._started = time.monotonic()
        self.viewers = threading.BoundedSemaphore(VIEWERS)
        self.closed = False
        handler = type("Handler", (_Handler,), {"page": self})
        try:
            self._server = _Server((host, port), handler)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"port {port} of {host} cannot be had: {error}; choose another --serve or --host"
            ) from error
        # A browser on this machine may be led here under another name; only then does the name matter.
        self.names = ("localhost", "127.0.0.1") if _is_loopback(host) else None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="fiqa-page", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """URL of the page."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/"

    def show(self, result: FrameResult) -> None:
        """Take in a frame."""
        with self._changed:
            self._overlay.note(result)
            self._result = result
            self._points.extend(
                (round(result.timestamp, 3), face.track, round(face.score, 4))
                for face in result.faces
                if face.score is not None
            )
            self._changed.notify_all()

    def add(self, word: TrackShots) -> None:
        """Take in a track's best shot."""
        if not word.shots:
            return
        best = word.shots[0]
        data = cv2.imencode(".jpg", best.picture)[1].tobytes()
        with self._changed:
            self._made += 1
            about = {"id": self._made, "track": word.track, "score": round(best.score, 3), "final": word.final}
            self._shots.append((about, data))

    def close(self) -> None:
        """Stop serving."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def state(self) -> dict[str, Any]:
        """All that the page shows, but for pictures."""
        counters = asdict(self._counters())
        with self._changed:
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
        with self._changed:
            return next((data for about, data in self._shots if about["id"] == number), None)

    def picture(self, after: int) -> tuple[int, bytes] | None:
        """The newest frame as JPEG, newer than the one of index `after`; None when there is none in a second."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or (self._result is not None and self._result.index > after), 1)
            result = self._result
            if self.closed or result is None or result.index <= after:
                return None
        with self._encoding:
            if self._encoded[0] < result.index:
                with self._changed:
                    drawn = self._overlay.draw(result, self._counters())
                self._encoded = (result.index, _jpeg(drawn))
            return self._encoded


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a viewer's connection ends with its next picture

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A viewer who left is no error."""
        log.debug("a viewer left", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    page: ClassVar[Page]
    timeout = 10  # seconds until a viewer who takes nothing is let go
    server_version = "fiqa"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        if (
            self.page.names is not None
            and urlsplit(f"//{self.headers.get('Host', '')}").hostname not in self.page.names
        ):
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"ask for localhost\n")
            return
        path = self.path.partition("?")[0]
        if path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", (files("sdk.video") / "page.html").read_bytes())
        elif path == "/state":
            self._send_json(HTTPStatus.OK, self.page.state())
        elif path == "/health":
            good = self.page.healthy()
            status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
            self._send_json(status, {"status": "ok" if good else "no frames"})
        elif path == "/stream":
            self._stream()
        else:
            number = path.removeprefix("/shots/").removesuffix(".jpg")
            data = self.page.shot(int(number)) if number.isdecimal() and len(number) < 10 else None
            if data is None:
                self._send(HTTPStatus.NOT_FOUND, "text/plain", b"not here\n")
            else:
                self._send(HTTPStatus.OK, "image/jpeg", data)

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are no news."""
        log.debug(format, *arguments)

    def _send_json(self, status: HTTPStatus, values: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(values).encode())

    def _send(self, status: HTTPStatus, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'; frame-ancestors 'none'")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(data)

    def _stream(self) -> None:
        if not self.page.viewers.acquire(blocking=False):
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"too many viewers\n")
            return
        try:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            index = -1
            while not self.page.closed:
                found = self.page.picture(index)
                if found is None:
                    continue
                index, data = found
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
                time.sleep(1 / PICTURES_PER_SECOND)
        finally:
            self.page.viewers.release()


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    if image.shape[1] > PICTURE_WIDTH:
        size = PICTURE_WIDTH, max(1, round(image.shape[0] * PICTURE_WIDTH / image.shape[1]))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 80))[1].tobytes()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
