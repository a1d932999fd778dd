"""Open a source of frames: a camera, a file, a folder, a stream, a GStreamer pipeline, or any iterable.

A finite source (file, folder, iterable) is read to its end, as fast as its frames are scored. A live one (camera, URL,
pipeline) is read as fast as it delivers frames, and is opened again when it fails.
"""

import os
import re
import stat
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError
from sdk.files import check_name
from sdk.images.file_kinds import IMAGE_SUFFIXES
from sdk.video.reading.address import stream_address, without_secrets
from sdk.video.reading.capture import Capture
from sdk.video.reading.given_frames import Frames, Images
from sdk.video.reading.jetson import jetson_pipeline
from sdk.video.reading.source import Source

HEAD = 512
"""Number of bytes at the start of a file that tell a text from a video."""

CONTROL = frozenset({*range(32), 127}) - frozenset(b"\t\n\f\r\x1b")
"""Bytes that no text holds, and every video does."""


VideoSource: TypeAlias = int | str | PathLike[str] | Iterable[NDArray[Any]] | Source
"""Sources that `open_source` takes."""


def open_source(source: VideoSource, live: bool | None = None) -> Source:
    """Open a source of frames.

    Args:
        source: One of these:

            - path of a video file, an image, a folder of images, or `/dev/video0`;
            - index of a camera, also as text (`"0"`);
            - URL (`rtsp://`, `http://`, ...);
            - GStreamer pipeline, which has ` ! ` in it, or preset of a Jetson (`csi:0`, `usb:0`, `nvdec:rtsp://...`);
            - iterable of frames, uint8 BGR (H, W, 3);
            - a `Source`.

            A text is a path where a file of that name is there.
        live: Whether an iterable or a URL is live. None: a URL is live, an iterable is not.

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
    """Find the file, folder or device that a text names. A file that is there wins over every other meaning.

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
    """Return the path of `file:clip.mp4` or `file:///home/me/my%20clip.mp4`."""
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
    """Refuse a text: FFmpeg draws it as letters or, where it is a list of other files, opens those."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; give a video file") from error
    if head and not set(head) & CONTROL and not head.startswith(b"YUV4MPEG2 "):
        raise InputError(f"{path} is a text, wanted a video; give the files or the stream that it names")
