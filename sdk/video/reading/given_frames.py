"""Sources whose frames are there already: images, and any iterable of frames."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import ImageError, InputError
from sdk.images.decoding import load_image
from sdk.images.file_kinds import IMAGE_SUFFIXES
from sdk.images.natural_order import natural_key
from sdk.video.reading.source import Captured

log = logging.getLogger(__name__)

FRAMES_PER_SECOND = 25
"""Frame rate of a folder, and of an iterable that is not live: nothing says how fast they were taken."""


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
        """Take the images of a folder, sorted as people count: 1, 2, 10. What is no regular file is left out.

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
        """Yield all images."""
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
    """Frames of an iterable, copied. What is no frame (None, another shape or type) is a corrupt frame."""

    fps = float(FRAMES_PER_SECOND)
    reconnects = 0

    def __init__(self, frames: Iterable[NDArray[Any]], live: bool) -> None:
        self.name = f"the iterable ({type(frames).__name__})"
        self.live = live
        self._frames = frames
        self._closing = Event()

    def frames(self) -> Iterator[Captured]:
        """Yield all frames; an error of the iterable passes."""
        for index, frame in enumerate(self._frames):
            if self._closing.is_set():
                return
            image = frame.copy() if isinstance(frame, np.ndarray) else None  # its owner may fill it again
            yield None if self.live else index / FRAMES_PER_SECOND, image

    def close(self) -> None:
        """Make `frames` end at its next frame."""
        self._closing.set()
