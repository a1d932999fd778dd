"""Small data sets and networks for the training tests."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.support.tiny_networks import TinyBackbone
from train.networks import QualityNetwork


@pytest.fixture
def tiny_network() -> QualityNetwork:
    torch.manual_seed(0)
    return QualityNetwork(TinyBackbone(), 16, 8)


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """Twelve crops of four people, one folder a person."""
    rng = np.random.default_rng(0)
    for index in range(12):
        folder = tmp_path / "crops" / f"person{index // 3}"
        folder.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (14, 14, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), cv2.resize(noise, (112, 112), interpolation=cv2.INTER_CUBIC))
    return tmp_path / "crops"
