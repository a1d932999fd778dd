"""Where frames come from: a camera, a file, a folder, a stream, a GStreamer pipeline, or any iterator.

A finite source (file, folder, iterator) is read to its end, and the pipeline waits for nobody. A live one (camera, URL,
pipeline) is read as fast as it delivers, and is opened again when it fails.
"""

import logging
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from threading import Event
from typing import Any, Protocol, TypeAlias
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from sdk.errors import ImageError, InputError
from sdk.files import check_name
from sdk.images.decoding import load_image
from sdk.images.file_kinds import IMAGE_SUFFIXES
from sdk.images.natural_order import natural_key
from sdk.video.reading.address import stream_address, without_secrets
from sdk.video.reading.capture import Capture
from sdk.video.reading.jetson import jetson_pipeline

log = logging.getLogger(__name__)

Captured: TypeAlias = tuple[float | None, NDArray[Any] | None]
"""Seconds since the source's start, None where the time of arrival counts; and the frame, None where it is corrupt."""

FRAMES_PER_SECOND = 25
"""Of a folder, and of an iterator that is not live: nothing says how fast they were taken."""


HEAD = 512
"""Bytes at the start of a file that tell a text from a video."""

CONTROL = frozenset({*range(32), 127}) - frozenset(b"\t\n\f\r\x1b")
"""Bytes that no text holds, but every video."""


class Source(Protocol):
    """What the pipeline wants of a source.

    Attributes:
        name: For messages; no secrets in it.
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
        source: Path of a video file, an image, a folder of images, or `/dev/video0`; index of a camera (also as text,
            `"0"`); URL (`rtsp://`, `http://`, ...); GStreamer pipeline (it has ` ! ` in it), or a Jetson preset of one
            (`csi:0`, `usb:0`, `nvdec:rtsp://...`); an iterable of frames, uint8 BGR (H, W, 3); a `Source`. A text is a
            path where there is such a file.
        live: Whether an iterable or a URL is live; None for its kind: an iterable is not, a URL is.

    Raises:
        InputError: There is no such source, it cannot be opened, or it gives no frame.
        DeviceError: The source is a pipeline, and this OpenCV has no GStreamer.
    """
    if isinstance(source, (int, np.integer)) and not isinstance(source, bool):
        return Capture.camera(int(source))
    if isinstance(source, (str, PathLike)):
        return _open_text(os.fsdecode(source), live)
    if all(hasattr(source, name) for name in ("frames", "live", "name")):
        return source  # type: ignore[return-value]
    if isinstance(source, Iterable):
        return Frames(source, bool(live))
    raise InputError(
        f"a video source is a {type(source).__name__}, wanted the index of a camera, a path, a URL, a GStreamer "
        "pipeline or an iterable of frames"
    )


def find_file(text: str) -> Path | None:
    """Find the file, folder or device that a text names; a file that is there is meant, whatever its name looks like.

    Raises:
        InputError: The text cannot name anything.
    """
    check_name(text)
    if os.path.lexists(text):
        return Path(text)
    return _named_by_url(text) if text[:5].lower() == "file:" else None


def _open_text(text: str, live: bool | None) -> Source:
    path = find_file(text)
    if path is not None:
        return _open_path(path)
    pipeline = jetson_pipeline(text) or (text if " ! " in text else None)
    if pipeline is not None:
        return Capture.pipeline(pipeline)
    address = stream_address(text)
    if address is not None:
        return Capture.stream(address, live is not False)
    if re.fullmatch("[0-9]{1,9}", text):
        return Capture.camera(int(text))
    raise InputError(
        f"{without_secrets(text)} does not exist; give a video file, a folder of images, the index of a camera or a URL"
    )


def _named_by_url(url: str) -> Path:
    """Path of `file:clip.mp4` or `file:///home/me/my%20clip.mp4`."""
    path = re.sub("^//(localhost)?(?=/)", "", url[5:], flags=re.IGNORECASE)
    return Path(path if os.path.lexists(path) else unquote(path))


def _open_path(path: Path) -> Source:
    check_name(path)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror}; give a video file") from error
    camera = re.fullmatch(r"/dev/video([0-9]{1,3})", os.path.realpath(path))
    if camera is not None and stat.S_ISCHR(mode):
        return Capture.camera(int(camera[1]))
    if stat.S_ISDIR(mode):
        return Images.of_folder(path)
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is a pipe or a device, wanted a video file, a folder of images or a camera")
    if path.suffix.lower() in IMAGE_SUFFIXES - {".gif"}:  # which may be a video
        return Images(str(path), [path])
    _refuse_text(path)
    return Capture.file(path)


def _refuse_text(path: Path) -> None:
    """Refuse a text. FFmpeg draws it as letters or, where it is a list of other files, opens what it names."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; give a video file") from error
    if head and not set(head) & CONTROL and not head.startswith(b"YUV4MPEG2 "):
        raise InputError(f"{path} is a text, wanted a video; give the files or the stream that it names by themselves")


class Images:
    """Images as frames, in the order given. A file that is no image is a corrupt frame."""

    live = False
    fps = float(FRAMES_PER_SECOND)
    reconnects = 0

    def __init__(self, name: str, paths: Sequence[Path]) -> None:
        self.name = name
        self._paths = paths
        self._closing = Event()

    @classmethod
    def of_folder(cls, folder: Path) -> "Images":
        """The images of a folder, counted as people do: 1, 2, 10. What is no regular file is left out.

        Raises:
            InputError: It holds no image, or cannot be read.
        """
        try:
            named = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
        except OSError as error:
            raise InputError(f"{folder} cannot be read: {error.strerror}; choose another folder") from error
        paths = sorted((path for path in named if path.is_file()), key=lambda path: natural_key(path.name))
        if not paths:
            raise InputError(
                f"{folder} holds no image, wanted the frames of a video: {', '.join(sorted(IMAGE_SUFFIXES))}"
            )
        if len(paths) < len(named):
            first = min(set(named) - set(paths))
            log.warning("%s: %d left out that are no files, such as %s", folder, len(named) - len(paths), first.name)
        return cls(str(folder), paths)

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
