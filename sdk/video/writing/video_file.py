"""The video with its overlay, as a file."""

import shutil
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError, OutputError
from sdk.files import check_suffix
from sdk.video.writing.growing_files import Draft, refuse_existing

VIDEO_CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}
"""Codecs by suffix, which every build of OpenCV can write."""

LEAST_FREE = 32 << 20
"""Bytes: OpenCV says nothing when the disk is full, so a video ends when so little is left."""

LONGEST_GAP = 1.0
"""Most seconds for which a video repeats a frame when none comes."""


class VideoFile:
    """Write frames that come at any time as a video of constant rate; the file appears when it is closed.

    A frame of another size than the first is scaled to that size.

    Args:
        path: `.mp4`, `.avi` or `.mkv`.
        fps: Frames per second.

    Raises:
        InputError: The suffix is unknown, the place cannot be written, or a file is there.
    """

    def __init__(self, path: Path, fps: float) -> None:
        check_video(path)
        self._path, self._fps = path, fps
        self._code = cv2.VideoWriter.fourcc(*VIDEO_CODECS.get(path.suffix.lower(), "MJPG"))
        self._draft = Draft(path)
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._start = 0.0
        self._written = 0
        self._found = 0.0

    def write(self, image: NDArray[np.uint8], timestamp: float) -> None:
        """Add a frame, repeated until its time is reached.

        Raises:
            InputError: This OpenCV cannot encode such frames.
            OutputError: The disk is nearly full.
        """
        if self._writer is None:
            self._size, self._start = (image.shape[1], image.shape[0]), timestamp
            self._writer = cv2.VideoWriter(str(self._draft.path), self._code, self._fps, self._size)
            if not self._writer.isOpened():
                size = " x ".join(map(str, self._size))
                raise InputError(f"{self._path} cannot be written: this OpenCV cannot encode {size} pixels; try .avi")
        if self._written % 25 == 0 and shutil.disk_usage(self._draft.path.parent).free < LEAST_FREE:
            raise OutputError(f"{self._path} ends here: less than {LEAST_FREE >> 20} MiB are free; make room")
        if (image.shape[1], image.shape[0]) != self._size:
            image = np.asarray(cv2.resize(image, self._size), np.uint8)
        due = round((timestamp - self._start) * self._fps) + 1 - self._written
        longest = max(1, round(LONGEST_GAP * self._fps))
        if due > longest:
            self._start += (due - longest) / self._fps
        for _ in range(min(due, longest)):
            self._writer.write(image)
            self._written += 1

    def close(self) -> None:
        """Finish the file and give it its name. Without a frame there is no file.

        Raises:
            OutputError: The file is cut short, or cannot be read again and is deleted. OpenCV does not say when it
                fails to write.
        """
        writer, self._writer = self._writer, None
        if writer is None or not self._written:
            self._draft.discard()
            return
        writer.release()
        self._draft.finish(self._check)
        if self._found < self._written:
            raise OutputError(f"{self._path} is cut short: not all of {self._written} frames found room; make room")

    def _check(self) -> None:
        capture = cv2.VideoCapture(str(self._draft.path), cv2.CAP_FFMPEG)
        if not capture.read()[0]:
            raise OutputError(f"{self._path} could not be written whole; make room, or try .avi")
        self._found = capture.get(cv2.CAP_PROP_FRAME_COUNT)


def check_video(path: Path) -> None:
    """Refuse a path for a video, before there is work to lose.

    Raises:
        InputError: Its suffix is unknown, or it is a file that is there and would be lost.
    """
    check_suffix("--save", path, VIDEO_CODECS)
    refuse_existing("--save", path)
