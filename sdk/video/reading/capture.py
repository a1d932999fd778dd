"""Sources that OpenCV opens: cameras, files, URLs, GStreamer pipelines. Live ones are opened again when they fail."""

import logging
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.errors import DeviceError, InputError
from sdk.images.decoding import MAX_PIXELS
from sdk.video.reading.address import without_secrets

log = logging.getLogger(__name__)

OPEN_TIMEOUT, READ_TIMEOUT = 4.0, 4.0
"""Seconds after which a stream is lost that does not open, or gives no frame."""

BACK_OFF = (0.2, 0.5, 1.0, 2.0)
"""Most seconds before each attempt to open a live source again; the last one holds for all that follow. Each wait is
drawn at random from the upper half, so that a hundred cameras do not come back at one moment."""

TOO_OLD = 1.0
"""Seconds after which a live source is opened anew that was opened and not read."""

SHORT_OF = 0.9
"""A file is reported as damaged when it ends before this share of its frames."""

FASTEST = 240
"""Highest frame rate that is believed. Some streams give their time base in its place."""

MAX_CAMERAS = 1000
"""Number of camera indices. OpenCV takes a higher one for a backend and an index."""

_cameras: set[int] = set()
_cameras_lock = threading.Lock()


class Capture:
    """Read frames through `cv2.VideoCapture`. `camera`, `file`, `stream` and `pipeline` make one.

    Attributes:
        name: Name for messages, without secrets.
        live: Whether it is opened again when it fails, for as long as it takes.
        fps: Frames per second that the source tells; 25 where it tells nothing that can be true.
        reconnects: How often it was opened again.
    """

    def __init__(self, target: int | str, backend: int, name: str, *, live: bool, hint: str) -> None:
        self.name = name
        self.live = live
        self.reconnects = 0
        self.fps = 25.0
        self._target = target
        self._backend = backend
        self._hint = hint
        self._closing = threading.Event()
        self._reading = threading.Lock()
        self._capture: cv2.VideoCapture | None = None
        self._first = self._open()
        self._opened = time.monotonic()
        if self._first is None:
            self.close()
            raise InputError(f"{name} cannot be opened, or gives no frame; {self._hint}")

    @classmethod
    def camera(cls, index: int) -> "Capture":
        """Open a camera by its index. One process opens it once: two readers would each get half of the frames."""
        if not 0 <= index < MAX_CAMERAS:
            raise InputError(f"camera {index} is not there, wanted an index from 0 to {MAX_CAMERAS - 1}")
        with _cameras_lock:
            if index in _cameras:
                raise InputError(
                    f"camera {index} is in use by another VideoScorer of this process; close that, or share its frames"
                )
            _cameras.add(index)
        hint = "see that it is plugged in (Linux: ls /dev/video*), allowed, and in use by no other program"
        try:
            return _Camera(index, cv2.CAP_ANY, f"camera {index}", live=True, hint=hint)
        except BaseException:
            _give_back(index)
            raise

    @classmethod
    def file(cls, path: Path) -> "Capture":
        """Open a video file."""
        hint = "see that it is a video that is whole (ffprobe tells)"
        # FFmpeg takes "12:00.mp4" for an address, and no name that begins with a slash.
        return cls(os.path.abspath(path), _backend(cv2.CAP_FFMPEG), str(path), live=False, hint=hint)

    @classmethod
    def stream(cls, url: str, live: bool = True) -> "Capture":
        """Open a URL."""
        hint = "see that the address is right and that the server answers (ffplay tells)"
        return cls(url, _backend(cv2.CAP_FFMPEG), without_secrets(url), live=live, hint=hint)

    @classmethod
    def pipeline(cls, text: str) -> "Capture":
        """Open a GStreamer pipeline that ends in an appsink."""
        if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            raise DeviceError(
                f"this OpenCV ({cv2.__version__}) is built without GStreamer, which a pipeline needs; use the OpenCV "
                "of JetPack or of the distribution (docs/jetson.md), or give a camera's index or a URL"
            )
        hint = "try it by itself with gst-launch-1.0, with fakesink in the place of the appsink"
        return cls(text, cv2.CAP_GSTREAMER, "the GStreamer pipeline", live=True, hint=hint)

    def frames(self) -> Iterator[tuple[float | None, NDArray[Any] | None]]:
        """Yield all frames, until the end or until `close`."""
        image, count = self._first, 0
        self._first = None
        if self.live and time.monotonic() - self._opened > TOO_OLD:
            image = self._open()  # what it gave meanwhile waits in its buffers, and is old
        try:
            while not self._closing.is_set():
                if image is None:
                    if not self.live:
                        self._report_damage(count)
                        return
                    image = self._open_again()
                    continue
                yield (None if self.live else self._position(count)), image
                count += 1
                image = self._read()
        finally:
            self._release()

    def close(self) -> None:
        """Make `frames` end after the frame that it is reading, if any."""
        self._closing.set()
        if self._reading.acquire(blocking=False):  # nobody reads, so nobody would release it
            try:
                self._release()
            finally:
                self._reading.release()

    def _open(self) -> NDArray[Any] | None:
        """Open and read the first frame: not every source that opens gives frames."""
        parameters: list[int] = []
        if self._backend == cv2.CAP_FFMPEG and self.live:
            parameters = [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(OPEN_TIMEOUT * 1000),
                cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(READ_TIMEOUT * 1000),
            ]  # fmt: skip
        self._release()
        with self._reading:
            # OpenCV says which backend failed on the way; the error tells the user what matters.
            self._capture = cv2.VideoCapture(self._target, self._backend, parameters)
        if not self._capture.isOpened():
            return None
        width, height = (self._capture.get(side) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_PIXELS:  # found before a frame of gigabytes is decoded
            self._hint = (
                f"its frames are {width:.0f} x {height:.0f}, wanted at most {MAX_PIXELS:,} pixels; make it smaller"
            )
            return None
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = rate if 0 < rate <= FASTEST else self.fps
        return self._read()

    def _open_again(self) -> NDArray[Any] | None:
        log.warning("%s is lost; opening it again", self.name)
        self._release()
        attempt = 0
        while not self._closing.wait(random.uniform(0.5, 1) * BACK_OFF[min(attempt, len(BACK_OFF) - 1)]):
            attempt += 1
            image = self._open()
            if image is not None:
                self.reconnects += 1
                log.warning("%s is back after %d attempts", self.name, attempt)
                return image
        return None

    def _read(self) -> NDArray[Any] | None:
        with self._reading:
            if self._capture is None:
                return None
            try:
                good, image = self._capture.read()
            except cv2.error as error:
                log.warning("%s: %s", self.name, without_secrets(str(error)))
                return None
        return np.asarray(image) if good else None

    def _position(self, count: int) -> float:
        """Return the seconds from the start of the file."""
        if self._capture is None:
            return 0.0
        milliseconds = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        return milliseconds / 1000 if milliseconds > 0 else count / self.fps

    def _report_damage(self, count: int) -> None:
        expected = 0.0 if self._capture is None else self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if count < SHORT_OF * expected:
            log.warning("%s ended after %d of %d frames; it is damaged or cut short", self.name, count, expected)

    def _release(self) -> None:
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.release()


class _Camera(Capture):
    def _release(self) -> None:
        super()._release()
        if self._closing.is_set():
            _give_back(int(self._target))


def _give_back(index: int) -> None:
    with _cameras_lock:
        _cameras.discard(index)


def _backend(wanted: int) -> int:
    return wanted if cv2.videoio_registry.hasBackend(wanted) else cv2.CAP_ANY
