"""DifFIQA against its recording, and what batching must not change."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdk.errors import InputError, ModelError
from tests.weights import golden_image, golden_noise, tame_diffusion, tame_network
from train.methods.diffiqa import DifFIQALabeller, DifFIQASettings, diffiqa, noised_and_restored
from train.methods.diffusion import Diffusion
from train.methods.recognition import RecognitionModel
from train.networks import QualityNetwork
from train.networks.unet import frozen_unet

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


@pytest.fixture(scope="module")
def golden_model() -> RecognitionModel:
    network = tame_network("ediffiqa-t")
    assert isinstance(network, QualityNetwork)
    return RecognitionModel(network.base_model, (0.5,) * 3, (0.5,) * 3).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def diffusion() -> Diffusion:
    return tame_diffusion(8)


@pytest.fixture(scope="module")
def small_model() -> RecognitionModel:
    return RecognitionModel(tame_network("mobilefacenet128"), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def faces() -> NDArray[np.uint8]:
    return ((golden_image("labels", (3, 112, 112, 3)) + 1) * 127.5).astype(np.uint8)


@pytest.mark.parametrize("frozen", [False, True])
def test_golden(golden_model: RecognitionModel, frozen: bool) -> None:
    golden = np.load(GOLDEN / "diffiqa_score.npz")
    faces = torch.from_numpy(golden_image("score", (3, 3, 112, 112)))
    drawn = torch.stack([golden_noise(f"score/noise/{index}", (12, 3, 112, 112)) for index in range(5)], 1)
    noise = drawn.view(2, 3, 2, 5, 3, 112, 112).transpose(0, 1)
    diffusion = tame_diffusion(16)
    if frozen:
        diffusion.model = frozen_unet(diffusion.model)

    def restore(images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        return noised_and_restored(diffusion, images, noise)

    result = diffiqa(restore, golden_model, faces, noise)
    np.testing.assert_allclose(result.terms.numpy(), golden["terms"], atol=1e-4)
    np.testing.assert_allclose(result.quality.numpy(), golden["quality"], atol=1e-4)
