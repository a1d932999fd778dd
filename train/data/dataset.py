"""Faces and their targets as a torch dataset: what is random depends on seed, epoch and row alone.

So training resumes exactly, and neither the number of workers nor the order of loading changes a sample.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from train.data.manifest import Manifest
from train.degradations.framing import Corners, Crop, blacken, cut, move

Item = dict[str, Any]

BLACKENED = 0.5
"""Share of the epochs in which a crop is black outside its picture, see `CutFaces`."""


class FaceDataset(Dataset[Item]):
    """Crops by (epoch, index) with targets of the same rows.

    Args:
        manifest: Images.
        rows: Rows of the manifest that this set has, in its own order.
        targets: Arrays over the manifest's rows, handed out with each image, by name.
        flip: Probability of a left-right flip.
        seed: Of the flips.
        cache: Keep decoded crops in memory (37 KB each).
    """

    def __init__(
        self,
        manifest: Manifest,
        rows: Sequence[int] | NDArray[np.integer[Any]],
        targets: Mapping[str, NDArray[Any]],
        flip: float = 0.0,
        seed: int = 0,
        cache: bool = False,
    ) -> None:
        self._manifest = manifest
        self._rows = np.asarray(rows)
        self._targets = targets
        self._flip = flip
        self._seed = seed
        self._cache: dict[int, NDArray[np.uint8]] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, index = key
        row = int(self._rows[index])
        rng = np.random.default_rng([self._seed, epoch, row])
        flipped = rng.random() < self._flip
        face = self._face(row, rng)
        if flipped:
            face = face[:, ::-1]
        return {"image": image_tensor(face), **self._targets_of(row)}

    def _targets_of(self, row: int) -> Item:
        return {name: torch.from_numpy(np.array(values[row])) for name, values in self._targets.items()}

    def _face(self, row: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return the crop of a row; a subclass may use the random numbers of this row and epoch."""
        if self._cache is None:
            return self._manifest.load_face(row)
        if row not in self._cache:
            self._cache[row] = self._manifest.load_face(row)
        return self._cache[row]


class CutFaces(FaceDataset):
    """Crops of which some are cut and all are moved, see `cut` and `move`.

    Where the manifest has a column `edge`, what lies outside the picture becomes black in half of the epochs: crops for
    training repeat the picture's edge, and crops of the SDK are black there.

    Args:
        manifest: Images.
        rows: Rows of the manifest that this set has, in its own order.
        targets: Arrays over the manifest's rows, by name.
        cuts: Share of the crops that are cut.
        moves: See `move`; 0 for none.
        flip: Probability of a left-right flip.
        seed: Of all that is random.
        cache: Keep decoded crops in memory.
    """

    def __init__(
        self,
        manifest: Manifest,
        rows: Sequence[int] | NDArray[np.integer[Any]],
        targets: Mapping[str, NDArray[Any]],
        cuts: float,
        moves: float,
        flip: float = 0.0,
        seed: int = 0,
        cache: bool = False,
    ) -> None:
        super().__init__(manifest, rows, targets, flip, seed, cache)
        self._cuts, self._moves = cuts, moves
        self._edges = _edges(manifest)

    def _face(self, row: int, rng: np.random.Generator) -> Crop:
        face = super()._face(row, rng)
        edge = self._edges.get(row)
        if edge is not None and rng.random() < BLACKENED:
            face = blacken(face, edge)
        if rng.random() < self._cuts:
            face = cut(face, rng)
        return move(face, self._moves, rng) if self._moves else face


def _edges(manifest: Manifest) -> dict[int, Corners]:
    """Return the picture's corners in each crop that reaches beyond it. Those of misaligned copies are not known."""
    columns = manifest.table.column_names
    if "edge" not in columns:
        return {}
    damages = manifest.column("degradation") if "degradation" in columns else [""] * len(manifest)
    pairs = enumerate(zip(manifest.column("edge"), damages, strict=True))
    return {
        row: np.array(edge.split(), np.float64).reshape(4, 2)
        for row, (edge, damage) in pairs
        if edge and "misalignment" not in (damage or "")
    }


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Shuffled batches of (epoch, index); a run that resumes sets `epoch` and `start`.

    Args:
        count: Items in the data set.
        batch_size: Items in a batch; the last one may be smaller.
        shuffle: Draw a new order each epoch.
        seed: Of the orders.
        processes: How many take turns at the batches. For several of them the order is filled up from its own start
            to full batches, equally many for each.
    """

    drop_last = False

    def __init__(self, count: int, batch_size: int, shuffle: bool, seed: int = 0, processes: int = 1) -> None:
        self.count, self.batch_size, self.shuffle, self.seed = count, batch_size, shuffle, seed
        self.padded = count if processes == 1 else -(-count // (batch_size * processes)) * batch_size * processes
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return -(-self.padded // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.arange(self.count)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        order = np.resize(order, self.padded)
        for first in range(self.start * self.batch_size, self.padded, self.batch_size):
            yield [(self.epoch, int(index)) for index in order[first : first + self.batch_size]]


def image_tensor(face: NDArray[np.uint8]) -> Tensor:
    """Return a uint8 BGR face (H, W, 3) as a uint8 RGB image (3, H, W) of a training set."""
    return torch.from_numpy(np.ascontiguousarray(face[..., ::-1].transpose(2, 0, 1)))


def rgb_images(faces: NDArray[np.uint8]) -> Tensor:
    """Return uint8 BGR faces (N, H, W, 3) as uint8 RGB images (N, 3, H, W) of a network, in channels-last memory."""
    return torch.from_numpy(np.ascontiguousarray(faces[..., ::-1])).permute(0, 3, 1, 2)


def normalised(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return `(x / 255 - mean) / std`, float32, of uint8 RGB images (N, 3, H, W)."""
    centre, spread = (_of_channels(tuple(values), images.device) for values in (mean, std))
    return (images.float() / 255 - centre) / spread


@cache
def _of_channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return a value a channel, kept on the device: a copy a batch would make a GPU wait."""
    with torch.inference_mode(False):  # so that it serves in training, too
        return torch.tensor(values, device=device).view(1, -1, 1, 1)


def even_validation(labels: NDArray[np.floating[Any]], fraction: float) -> NDArray[np.bool_]:
    """Return a mask of rows to validate on, taken evenly along the sorted labels."""
    chosen = np.zeros(len(labels), bool)
    count = max(1, round(fraction * len(labels)))
    ranked = np.argsort(labels, kind="stable")
    chosen[ranked[np.linspace(0, len(labels) - 1, count).round().astype(int)]] = True
    return chosen
