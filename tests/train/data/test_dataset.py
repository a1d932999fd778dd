"""Batches, flips and the choice of images to validate on."""

from pathlib import Path

import numpy as np
import torch

from train.data.dataset import EpochBatches, FaceDataset, even_validation
from train.data.manifest import read_manifest


def test_batches_and_flips_depend_on_seed_and_epoch_alone(crops: Path) -> None:
    batches = EpochBatches(10, 4, True, seed=3)
    first = list(batches)
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(index for batch in first for _, index in batch) == list(range(10))
    batches.start = 1
    assert list(batches) == first[1:]
    batches.epoch, batches.start = 1, 0
    assert [index for batch in batches for _, index in batch] != [index for batch in first for _, index in batch]
    shared = [index for batch in EpochBatches(10, 4, True, seed=3, processes=2) for _, index in batch]
    order = [index for batch in first for _, index in batch]
    assert shared == order + order[:6]
    data = FaceDataset(read_manifest(crops), range(12), {"label": np.zeros(12)}, flip=0.5)
    plain = FaceDataset(read_manifest(crops), range(12), {"label": np.zeros(12)}, cache=True)
    flipped = [not torch.equal(data[(0, i)]["image"], plain[(0, i)]["image"]) for i in range(12)]
    assert flipped == [not torch.equal(data[(0, i)]["image"], plain[(0, i)]["image"]) for i in range(12)]
    assert 0 < sum(flipped) < 12
    assert torch.equal(plain[(0, 3)]["image"], plain[(5, 3)]["image"])


def test_validation_is_even_along_the_labels() -> None:
    labels = np.random.default_rng(0).random(200)
    chosen = labels[even_validation(labels, 0.1)]
    assert len(chosen) == 20
    np.testing.assert_allclose(np.sort(chosen), np.quantile(labels, np.linspace(0, 1, 20)), atol=0.01)
