"""Where frames come from: a camera, a file, a folder, a stream, a GStreamer pipeline, or any iterator.

A finite source (file, folder, iterator) is read to its end, and the pipeline waits for nobody. A live one (camera, URL,
pipeline) is read as fast as it delivers, and is opened again when it fails.
"""

from collections.abc import Iterable, Iterator
from os import PathLike, fspath
from pathlib import Path
from threading import Event
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sdk.errors import ImageError, InputError
from sdk.folders import IMAGE_SUFFIXES
from sdk.images import load_image
from sdk.video.capture import Capture
from sdk.video.jetson import jetson_pipeline

Captured: TypeAlias = tuple[float | None, NDArray[Any] | None]
"""Seconds since the source's start, None where the time of arrival counts; and the frame, None where it is corrupt."""

FRAMES_PER_SECOND = 25
"""Of a folder, and of an iterator that is not live: nothing says how fast they were taken."""


class Source(Protocol):
    """What the pipeline wants of a source.

    Attributes:
        name: For messages; no password in it.
        live: Frames that nobody has time for are dropped.
        fps: Frames per second, as far as is known.
        reconnects: How often it was opened again.
    """

    name: str
    live: bool
    fps: float
    reconnects: int

    def frames(self) -> Iterator[Captured]:
        """All frames, until the end or until `close`."""
        ...

    def close(self) -> None:
        """Make `frames` end soon; called from another thread."""
        ...


VideoSource: TypeAlias = int | str | PathLike[str] | Iterable[NDArray[Any]] | Source
"""What `open_source` takes."""


def open_source(source: VideoSource, live: bool | None = None) -> Source:
    """Open whatever delivers frames.

    Args:
        source: Index of a camera (also as text, `"0"`); path of a video file or of a folder of images; URL (`rtsp://`,
            `http://`, ...); GStreamer pipeline (it has ` ! ` in it), or a Jetson preset of one (`csi:0`, `usb:0`,
            `nvdec:rtsp://...`); an iterable of frames, uint8 BGR (H, W, 3); a `Source`.
        live: Whether an iterable or a URL is live; None for its kind: an iterable is not, a URL is.

    Raises:
        InputError: There is no such source, it cannot be opened, or it gives no frame.
        DeviceError: The source is a pipeline, and this OpenCV has no GStreamer.
    """
    if isinstance(source, int):
        return Capture.camera(source)
    if isinstance(source, (str, PathLike)):
        return _open_text(fspath(source), live)
    if all(hasattr(source, name) for name in ("frames", "live", "name")):
        return source  # type: ignore[return-value]
    if isinstance(source, Iterable):
        return Frames(source, bool(live))
    raise InputError(
        f"a video source is a {type(source).__name__}, wanted the index of a camera, a path, a URL, a GStreamer "
        "pipeline or an iterable of frames"
    )


def _open_text(text: str, live: bool | None) -> Source:
    pipeline = jetson_pipeline(text) or (text if " ! " in text else None)
    if pipeline is not None:
        return Capture.pipeline(pipeline)
    if "://" in text:
        return Capture.stream(text, live is not False)
    path = Path(text)
    if path.is_dir():
        return Folder(path)
    if path.exists():
        return Capture.file(path)
    if text.isdecimal():
        return Capture.camera(int(text))
    raise InputError(f"{text} does not exist; give a video file, a folder of images, the index of a camera or a URL")


class Folder:
    """The images of a folder, by name. A file that is no image is a corrupt frame."""

    live = False
    fps = float(FRAMES_PER_SECOND)
    reconnects = 0

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._paths = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        self._closing = Event()
        if not self._paths:
            raise InputError(
                f"{path} holds no image, wanted the frames of a video: {', '.join(sorted(IMAGE_SUFFIXES))}"
            )

    def frames(self) -> Iterator[Captured]:
        """All images."""
        for index, path in enumerate(self._paths):
            if self._closing.is_set():
                return
            try:
                yield index / FRAMES_PER_SECOND, load_image(path)
            except ImageError:
                yield index / FRAMES_PER_SECOND, None

    def close(self) -> None:
        """Make `frames` end."""
        self._closing.set()


class Frames:
    """Any iterable of frames, which are copied. What is no frame (None, another shape or type) is a corrupt one."""

    fps = float(FRAMES_PER_SECOND)
    reconnects = 0

    def __init__(self, frames: Iterable[NDArray[Any]], live: bool) -> None:
        self.name = f"the iterable ({type(frames).__name__})"
        self.live = live
        self._frames = frames
        self._closing = Event()

    def frames(self) -> Iterator[Captured]:
        """All frames; an error of the iterable passes."""
        for index, frame in enumerate(self._frames):
            if self._closing.is_set():
                return
            image = frame.copy() if isinstance(frame, np.ndarray) else None  # its owner may fill it again
            yield None if self.live else index / FRAMES_PER_SECOND, image

    def close(self) -> None:
        """Make `frames` end at its next frame."""
        self._closing.set()
