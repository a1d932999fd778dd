"""FaceQAN against its recording, and what batching must not change."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sdk.errors import InputError
from tests.support.weights import golden_image, tame_network
from train.methods.faceqan import FaceQANLabeller, FaceQANSettings, combine, faceqan
from train.networks import QualityNetwork
from train.networks.attack import frozen_for_attack
from train.networks.recognition import RecognitionModel

GOLDEN = Path(__file__).parents[2] / "data" / "golden"


@pytest.fixture(scope="module")
def golden_model() -> RecognitionModel:
    network = tame_network("ediffiqa-t")
    assert isinstance(network, QualityNetwork)
    return RecognitionModel(network.base_model, (0.5,) * 3, (0.5,) * 3).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def faces() -> NDArray[np.uint8]:
    images = golden_image("labels", (5, 112, 112, 3))
    return ((images + 1) * 127.5).astype(np.uint8)


@pytest.fixture(scope="module")
def small_model() -> RecognitionModel:
    return RecognitionModel(tame_network("mobilefacenet128"), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(("rewritten", "tolerance"), [(False, 2e-5), (True, 5e-5)])
def test_golden(golden_model: RecognitionModel, rewritten: bool, tolerance: float) -> None:
    """To 2e-5 as published; rounding, more so in the rewrites for speed, turns gradient signs that are all but zero."""
    golden = np.load(GOLDEN / "faceqan.npz")
    face = torch.from_numpy((golden_image("faceqan", (3, 112, 112)) + 1) / 2)
    rng = np.random.default_rng(zlib.crc32(b"faceqan/noise"))
    noise = torch.from_numpy((0.001 * rng.uniform(-1, 1, (10, 3, 112, 112))).astype(np.float32))
    model = frozen_for_attack(golden_model, torch.device("cpu")) if rewritten else golden_model
    result = faceqan(model, face[None], noise[None])
    np.testing.assert_allclose(result.similarities[0].numpy(), golden["similarities"], atol=tolerance)
    assert float(result.symmetry[0]) == pytest.approx(float(golden["symmetry"]), abs=1e-5)
    assert float(result.quality[0]) == pytest.approx(float(golden["quality"]), abs=1e-5)


def test_neither_batch_nor_order_changes_a_label(small_model: RecognitionModel, faces: NDArray[np.uint8]) -> None:
    labeller = FaceQANLabeller(small_model, FaceQANSettings(copies=2, iterations=2))
    keys = [f"{index}.png" for index in range(len(faces))]
    together = labeller(faces, keys)["faceqan"]
    alone = [labeller(faces[[i]], [keys[i]])["faceqan"][0] for i in range(len(faces))]
    backwards = labeller(faces[::-1], keys[::-1])["faceqan"][::-1]
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_allclose(backwards, together, atol=1e-5)
    assert np.ptp(together) > 1e-3


def test_seed_and_settings_reach_the_labels(small_model: RecognitionModel, faces: NDArray[np.uint8]) -> None:
    def labels(seed: int = 0, **settings: float) -> NDArray[np.float32]:
        labeller = FaceQANLabeller(small_model, FaceQANSettings(**{"copies": 2, "iterations": 2} | settings), seed)
        return labeller(faces[:1], ["a"])["faceqan"]

    base = labels()
    assert labels() == base
    for changed in (labels(seed=1), labels(copies=3), labels(iterations=3), labels(exponent=1), labels(epsilon=0.01)):
        assert changed != base
    assert labels(exponent=1) ** 5 == pytest.approx(base, rel=1e-4)


def test_embeddings_are_float32_whatever_the_labels_are(
    small_model: RecognitionModel, faces: NDArray[np.uint8]
) -> None:
    settings, keys = FaceQANSettings(copies=1, iterations=2), list("abcde")
    exact, fast = (FaceQANLabeller(small_model, settings, bf16=bf16)(faces, keys) for bf16 in (False, True))
    np.testing.assert_allclose(fast["embedding"], exact["embedding"], atol=1e-5)
    assert np.abs(fast["faceqan"] - exact["faceqan"]).max() > 1e-4  # the attack and its reference are bfloat16
    assert "embedding" not in FaceQANLabeller(small_model, settings, bf16=True, embed=False)(faces[:1], ["a"])


def test_noise_depends_on_the_key_and_stays_within_epsilon(small_model: RecognitionModel) -> None:
    labeller = FaceQANLabeller(small_model, FaceQANSettings(copies=3))
    noise = labeller._noise("a.png", (112, 112))
    assert noise.shape == (3, 3, 112, 112)
    assert 0.0009 < np.abs(noise).max() <= 0.001
    assert not np.array_equal(noise, labeller._noise("b.png", (112, 112)))


def test_combine_by_hand() -> None:
    similarities = torch.tensor([[[1.0, 0.8], [0.6, 0.8]]])  # mean 0.8, population deviation sqrt(0.02)
    quality = combine(similarities, torch.tensor([0.5]), 2.0)
    assert float(quality) == pytest.approx((0.9 * (1 - 0.02**0.5) * 0.5) ** 2, rel=1e-6)
    assert float(combine(similarities, torch.tensor([-0.5]), 2.5)) < 0


def test_the_model_is_left_as_it_was(small_model: RecognitionModel) -> None:
    before = [parameter.requires_grad for parameter in small_model.parameters()]
    FaceQANLabeller(small_model)
    assert [parameter.requires_grad for parameter in small_model.parameters()] == before
    assert not any(type(module).__name__ == "DepthwiseConv2d" for module in small_model.modules())


def test_bad_settings() -> None:
    with pytest.raises(InputError, match="copies=0"):
        FaceQANSettings(copies=0)
