"""DifFIQA against its recording, and what batching must not change."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from typer.testing import CliRunner

from sdk.errors import InputError
from tests.support.weights import golden_image, golden_noise, tame_diffusion, tame_network
from train.cli import app
from train.data.manifest import read_table
from train.methods.diffiqa import DifFIQALabeller, DifFIQASettings, diffiqa, noised_and_restored
from train.methods.diffusion import Diffusion
from train.networks import QualityNetwork, save_network
from train.networks.recognition import RecognitionModel
from train.networks.unet import frozen_unet

GOLDEN = Path(__file__).parents[2] / "data" / "golden"


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


def test_golden(golden_model: RecognitionModel) -> None:
    golden = np.load(GOLDEN / "diffiqa_score.npz")
    faces = torch.from_numpy(golden_image("score", (3, 3, 112, 112)))
    drawn = torch.stack([golden_noise(f"score/noise/{index}", (12, 3, 112, 112)) for index in range(5)], 1)
    noise = drawn.view(2, 3, 2, 5, 3, 112, 112).transpose(0, 1)
    diffusion = tame_diffusion(16)
    diffusion.model = frozen_unet(diffusion.model)

    def restore(images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        return noised_and_restored(diffusion, images, noise)

    result = diffiqa(restore, golden_model, faces, noise)
    np.testing.assert_allclose(result.terms.numpy(), golden["terms"], atol=1e-4)
    np.testing.assert_allclose(result.quality.numpy(), golden["quality"], atol=1e-4)


def test_neither_batch_nor_order_changes_a_label(
    diffusion: Diffusion, small_model: RecognitionModel, faces: NDArray[np.uint8]
) -> None:
    settings = DifFIQASettings(t=2, repetitions=2)
    labeller = DifFIQALabeller(diffusion, small_model, settings, images=5)
    keys = ["a.png", "b.png", "c.png"]
    together = labeller(faces, keys)["diffiqa"]
    labeller.images = 2
    alone = [labeller(faces[[i]], [keys[i]])["diffiqa"][0] for i in (2, 1, 0)][::-1]
    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert np.ptp(together) > 1e-3
    assert labeller(faces[:1], ["a.png"])["diffiqa"] != labeller(faces[:1], ["other.png"])["diffiqa"]


def test_labels_are_the_plain_formula(
    diffusion: Diffusion, small_model: RecognitionModel, faces: NDArray[np.uint8]
) -> None:
    """The labeller, with weights standardised once and parts of 3 images, against the score of one face by hand."""
    labeller = DifFIQALabeller(diffusion, small_model, DifFIQASettings(t=3, repetitions=2), seed=7, images=3)
    label = labeller(faces[:1], ["a"])
    noise = torch.from_numpy(labeller._noise("a", (112, 112)))
    face = torch.from_numpy(faces[0][..., ::-1].transpose(2, 0, 1) / np.float32(127.5) - 1)
    similarities: list[list[float]] = [[] for _ in range(5)]

    def cosine(image: Tensor) -> float:
        with torch.no_grad():
            one, other = small_model((torch.stack([face, image]) + 1) / 2).double()
        return float(one @ other / one.norm() / other.norm())

    for side, image in enumerate((face, face.flip(-1))):
        for drawn in noise[side]:
            first, *others = drawn[:, None].unbind(0)
            noisy = diffusion.q_sample(image[None], torch.tensor([3]), first)
            with torch.no_grad():
                restored = diffusion.restore(noisy, 3, others)
            similarities[2 * side].append(cosine(noisy[0]))
            similarities[2 * side + 1].append(cosine(restored[0]))
    similarities[4].append(cosine(face.flip(-1)))
    assert float(label["diffiqa"][0]) == pytest.approx(np.mean([np.mean(term) for term in similarities]), abs=1e-5)
    with torch.no_grad():
        embedding = small_model((face[None] + 1) / 2).numpy()
    np.testing.assert_allclose(label["embedding"], embedding, atol=1e-4)


def test_a_face_is_embedded_once(diffusion: Diffusion, faces: NDArray[np.uint8]) -> None:
    seen = []

    def model(images: Tensor) -> Tensor:
        seen.append(len(images))
        return images.flatten(2).mean(-1) + images[..., 0, 0]

    images = torch.from_numpy(faces[:2].transpose(0, 3, 1, 2) / np.float32(127.5) - 1)
    noise = torch.zeros(2, 2, 4, 1, 3, 112, 112)
    diffiqa(lambda clean, _: (clean, clean), model, images, noise)  # type: ignore[arg-type]
    assert sorted(seen) == [4, 16, 16]


def test_parts_are_halved_until_memory_suffices(
    diffusion: Diffusion, small_model: RecognitionModel, faces: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = DifFIQASettings(t=1, repetitions=2)
    wanted = DifFIQALabeller(diffusion, small_model, settings)(faces, list("abc"))["diffiqa"]
    labeller = DifFIQALabeller(diffusion, small_model, settings, images=12)
    q_sample = Diffusion.q_sample

    def small_memory(self: Diffusion, images: Tensor, *others: Tensor) -> Tensor:
        if len(images) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return q_sample(self, images, *others)

    monkeypatch.setattr(Diffusion, "q_sample", small_memory)
    np.testing.assert_allclose(labeller(faces, list("abc"))["diffiqa"], wanted, atol=1e-5)
    assert labeller.images == 3

    def broken(self: Diffusion, images: Tensor, *others: Tensor) -> Tensor:
        raise RuntimeError("something else")

    monkeypatch.setattr(Diffusion, "q_sample", broken)
    with pytest.raises(RuntimeError, match="something else"):
        labeller(faces, list("abc"))


def test_two_callers_that_lack_memory_at_once(
    diffusion: Diffusion, small_model: RecognitionModel, faces: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both try two images and fail; each halves, and one image at a time is what both end with."""
    labeller = DifFIQALabeller(diffusion, small_model, DifFIQASettings(t=1, repetitions=2), images=2)
    wanted = labeller(faces, list("abc"))["diffiqa"]
    q_sample, meeting = Diffusion.q_sample, threading.Barrier(2)

    def small_memory(self: Diffusion, images: Tensor, *others: Tensor) -> Tensor:
        if len(images) > 1:
            meeting.wait(60)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        assert len(images) == 1
        return q_sample(self, images, *others)

    monkeypatch.setattr(Diffusion, "q_sample", small_memory)
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda _: labeller(faces, list("abc"))["diffiqa"], range(2)):
            np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert labeller.images == 1


def test_settings_reach_the_labels(
    diffusion: Diffusion, small_model: RecognitionModel, faces: NDArray[np.uint8]
) -> None:
    def label(seed: int = 0, precision: str = "no", **settings: int) -> float:
        chosen = DifFIQASettings(**{"t": 2, "repetitions": 1} | settings)
        labeller = DifFIQALabeller(diffusion, small_model, chosen, seed, precision=precision)
        return float(labeller(faces[:1], ["a"])["diffiqa"][0])

    base = label()
    assert label() == base
    for changed in (label(seed=1), label(t=3), label(repetitions=2), label(precision="bf16")):
        assert changed != base
    assert label(precision="bf16") == pytest.approx(base, abs=0.05)


@pytest.mark.parametrize("wrong", [{"t": 0}, {"t": 100}, {"repetitions": 0}])
def test_bad_settings(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match=r"wanted t in 1 .. 99"):
        DifFIQASettings(**wrong)


def test_bad_precision(diffusion: Diffusion, small_model: RecognitionModel) -> None:
    with pytest.raises(InputError, match="precision is 'fp8', wanted one of: no, bf16, fp16"):
        DifFIQALabeller(diffusion, small_model, precision="fp8")


def test_command(diffusion: Diffusion, crops: Path, tmp_path: Path) -> None:
    save_network(diffusion, tmp_path / "d.safetensors")
    save_network(tame_network("mobilefacenet128"), tmp_path / "fr.safetensors")
    (crops / "person0" / "0.png").write_bytes(b"text")
    arguments = ["label", "diffiqa", str(crops), "--out", str(tmp_path / "labels.csv"), "-n", "1", "-t", "1"]
    weights = ["--weights", str(tmp_path / "fr.safetensors")]
    result = CliRunner().invoke(app, [*arguments, *weights, "--diffusion", str(tmp_path / "d.safetensors")])
    assert result.exit_code == 3, result.output
    table = read_table(tmp_path / "labels.csv")
    labels = [value for value in table["diffiqa"].to_pylist() if value is not None]
    assert len(labels) == 11
    assert len(set(labels)) == 11
    result = CliRunner().invoke(app, [*arguments, *weights, "--diffusion", str(tmp_path / "fr.safetensors")])
    assert result.exit_code == 1
    assert "holds no model.init_conv.weight" in result.output
