"""The training loop: it learns, it resumes exactly, it keeps the best."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sdk.errors import InputError
from tests.train.conftest import TINY
from train.data.dataset import EpochBatches, FaceDataset, even_validation
from train.data.manifest import read_manifest
from train.methods.fitting import FitSettings, fit, parameter_groups, rate_factor
from train.networks import QualityNetwork, load_state, read_state

SETTINGS = FitSettings(epochs=3, batch_size=4, backbone_tensors=-1, schedule="one-cycle", ema=0.9, flip=0.5)


class Loss:
    """L1 on the label; may stop a run after some steps, as a power cut would."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.steps, self.stop_at = 0, stop_at

    def __call__(
        self, features: Tensor, prediction: Tensor, batch: dict[str, Tensor], training: bool
    ) -> dict[str, Tensor]:
        if training:
            self.steps += 1
            if self.steps == self.stop_at:
                raise KeyboardInterrupt
        return {"total": (prediction.squeeze(-1) - batch["label"]).abs().mean()}


def run(network: QualityNetwork, crops: Path, out: Path, settings: FitSettings, loss: Loss) -> Path:
    manifest = read_manifest(crops)
    label = np.array([manifest.load_face(row).mean() / 255 for row in range(len(manifest))], np.float32)
    train_set = FaceDataset(manifest, range(10), {"label": label}, settings.flip, settings.seed)
    return fit(network, TINY, train_set, FaceDataset(manifest, range(10, 12), {"label": label}), loss, settings, out)


def fresh() -> QualityNetwork:
    torch.manual_seed(0)
    return QualityNetwork(TINY.backbone(), 16, 8)


@pytest.mark.parametrize("stop_at", [2, 4, 6, 9])
def test_an_interrupted_run_ends_with_the_same_weights(crops: Path, tmp_path: Path, stop_at: int) -> None:
    settings = dataclasses.replace(SETTINGS, save_every=1)
    whole = fresh()
    run(whole, crops, tmp_path / "whole", settings, Loss())
    with pytest.raises(KeyboardInterrupt):
        run(fresh(), crops, tmp_path / "cut", settings, Loss(stop_at))
    resumed = fresh()
    loss = Loss()
    run(resumed, crops, tmp_path / "cut", settings, loss)
    assert loss.steps == 9 - (stop_at - 1)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    for name in ("best.safetensors", "last.safetensors"):
        wanted, found = (read_state(tmp_path / folder / name) for folder in ("whole", "cut"))
        assert all(torch.equal(value, found[key]) for key, value in wanted.items())
    assert (tmp_path / "whole/history.json").read_text() == (tmp_path / "cut/history.json").read_text()


def test_it_learns_and_keeps_the_best(crops: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, epochs=25, head_lr=0.02, backbone_lr=0.02, ema=0.0, flip=0.0)
    best = run(fresh(), crops, tmp_path / "run", settings, Loss())
    history = json.loads((tmp_path / "run/history.json").read_text())
    totals = [entry["total"] for entry in history]
    assert min(totals) < 0.5 * totals[0]
    kept = fresh()
    load_state(kept, read_state(best), "best")
    manifest = read_manifest(crops)
    kept.eval()
    errors = []
    for row in (10, 11):
        face = manifest.load_face(row)
        image = torch.from_numpy(face[..., ::-1].transpose(2, 0, 1).copy())[None].float() / 255
        errors.append(abs(float(kept((image - 0.5) / 0.5)) - face.mean() / 255))
    assert np.mean(errors) == pytest.approx(min(totals), abs=1e-5)
    assert list((tmp_path / "run/tensorboard").rglob("events*"))


def test_other_settings_do_not_resume(crops: Path, tmp_path: Path) -> None:
    run(fresh(), crops, tmp_path / "run", SETTINGS, Loss())
    with pytest.raises(InputError, match=r"head_lr=0.001, this one has head_lr=0.5"):
        run(fresh(), crops, tmp_path / "run", dataclasses.replace(SETTINGS, head_lr=0.5), Loss())


def test_a_finished_run_does_nothing_more(crops: Path, tmp_path: Path) -> None:
    run(fresh(), crops, tmp_path / "run", SETTINGS, Loss())
    again = Loss()
    run(fresh(), crops, tmp_path / "run", SETTINGS, again)
    assert again.steps == 0


def test_groups_freeze_the_rest(tiny_network: QualityNetwork) -> None:
    head, backbone = parameter_groups(tiny_network, dataclasses.replace(SETTINGS, backbone_tensors=2, backbone_lr=1e-4))
    assert (head["lr"], backbone["lr"]) == (1e-3, 1e-4)
    assert len(backbone["params"]) == 2
    assert backbone["params"][0] is tiny_network.base_model.fc.weight  # type: ignore[union-attr]
    assert [parameter.requires_grad for parameter in tiny_network.base_model.parameters()] == [False] * 3 + [True] * 2


def test_rates() -> None:
    assert rate_factor("constant", 7, 10) == 1.0
    assert rate_factor("one-cycle", 0, 100) == pytest.approx(0.1)
    assert rate_factor("one-cycle", 9, 100) == pytest.approx(1.0)
    assert rate_factor("one-cycle", 55, 100) == pytest.approx(0.5)
    assert rate_factor("one-cycle", 100, 100) == pytest.approx(0.0)


def test_batches_and_flips_depend_on_seed_and_epoch_alone(crops: Path) -> None:
    batches = EpochBatches(10, 4, True, seed=3)
    first = list(batches)
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(index for batch in first for _, index in batch) == list(range(10))
    batches.start = 1
    assert list(batches) == first[1:]
    batches.epoch, batches.start = 1, 0
    assert [index for batch in batches for _, index in batch] != [index for batch in first for _, index in batch]
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
