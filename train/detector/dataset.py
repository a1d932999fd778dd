"""Scenes and the targets of a detector's cells, as a torch dataset.

A scene depends on seed, epoch and index alone, so training resumes exactly whatever the number of workers.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch.utils.data import Dataset

from sdk.images.decoding import load_image
from train.data.dataset import Item
from train.detector.cells import assign
from train.detector.photos import Photo, Rows
from train.detector.scenes import Image, Scene, draw_scene

TURNED = 4
"""See `SceneDataset`."""


class SceneDataset(Dataset[Item]):
    """Scenes by (epoch, index). Photos of turned faces, which are few, are drawn up to `TURNED` times as often.

    Args:
        photos: Scenes are made of them.
        count: Scenes an epoch.
        size: Height and width, pixels: a multiple of 32.
        seed: Of the scenes.
        cache: Keep all decoded photos in memory.
    """

    def __init__(self, photos: Sequence[Photo], count: int, size: int, seed: int = 0, cache: bool = False) -> None:
        self._photos, self._count, self._size, self._seed = photos, count, size, seed
        chances = [1 + (TURNED - 1) * turned(photo.faces) for photo in photos]
        self._chances = np.cumsum(chances) / np.sum(chances)
        # Read before loading processes are started, so that they share it.
        self._images = [load_image(photo.path) for photo in photos] if cache else None

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, key: tuple[int, int]) -> Item:
        scene = self.scene(*key)
        kinds, targets = assign(scene.faces, self._size, self._size)
        image = np.stack(cv2.split(scene.image)[::-1])
        tensors = {"image": image, "kinds": kinds, "targets": targets}
        return {name: torch.from_numpy(value) for name, value in tensors.items()}

    def scene(self, epoch: int, index: int) -> Scene:
        """Draw the scene of an item."""
        return draw_scene(self._photo, self._size, np.random.default_rng([self._seed, epoch, index]))

    def _photo(self, rng: Generator) -> tuple[Image, Rows]:
        index = min(int(np.searchsorted(self._chances, rng.random())), len(self._photos) - 1)
        photo = self._photos[index]
        return load_image(photo.path) if self._images is None else self._images[index], photo.faces


def turned(faces: Rows) -> float:
    """Return how far the first face of a photo is turned to the side, from 0 to 1.

    0 is a face that looks at the camera, or no face. 1 is one whose nose is half the distance of the eyes, or more, to
    the side of their middle.
    """
    if not len(faces):
        return 0.0
    left, right, nose = faces[0, 4:10].reshape(3, 2)
    along = right - left
    aside = abs(float((nose - (left + right) / 2) @ along)) / max(float(along @ along), 1e-9)
    return min(1.0, 2 * aside)
