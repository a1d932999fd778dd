"""Labellers of the tests' own."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import ModelError
from train.data.manifest import Manifest


class Brightness:
    """A labeller that counts what it is given, and can be interrupted."""

    name = "brightness"

    def __init__(self, fail_after: int | None = None) -> None:
        self.seen: list[str] = []
        self.fail_after = fail_after

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        if self.fail_after is not None and len(self.seen) >= self.fail_after:
            raise KeyboardInterrupt
        self.seen += keys
        means = faces.mean(axis=(1, 2, 3))
        return {self.name: means, "embedding": np.stack([means, -means], axis=1).astype(np.float32)}


def expected(manifest: Manifest) -> list[float]:
    return [float(manifest.load_face(row).mean()) for row in range(len(manifest))]


class Meeting:
    """Labels faces with the number of its process, once two processes have come."""

    name = "process"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        (self.folder / str(os.getpid())).touch()
        deadline = time.monotonic() + 900
        while len(list(self.folder.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        return {self.name: np.full(len(faces), os.getpid())}


class Notes:
    """Brightness, that notes its images in a file, and waits at the sixth of a run that is to be killed."""

    name = "brightness"

    def __init__(self, notes: Path, wait: bool) -> None:
        self.notes, self.wait = notes, wait

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        if self.wait and len(self.notes.read_text().splitlines()) >= 6:
            time.sleep(600)
        with self.notes.open("a") as file:
            file.write("".join(f"{key}\n" for key in keys))
        return {self.name: faces.mean(axis=(1, 2, 3)), "embedding": faces[:, 0, :4, 0].astype(np.float32)}


class GivesUp:
    """A labeller that lacks its model."""

    name = "nothing"

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        raise ModelError("no model.onnx on this machine")
