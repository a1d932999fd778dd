"""The training loop: it learns, it resumes exactly, it keeps the best."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.optim.swa_utils import SWALR

from sdk.errors import InputError
from tests.support import train_in_processes
from tests.support.processes import start_two
from tests.support.tiny_networks import TINY, fit_tiny
from train.data.dataset import EpochBatches, FaceDataset, even_validation
from train.data.manifest import read_manifest
from train.fitting.learner import Learner
from train.fitting.quality import parameter_groups, quality_task
from train.fitting.settings import FitSettings, Group, learning_rate, validation_due, validations_until
from train.fitting.task import Terms
from train.fitting.trainer import Trainer
from train.fitting.validation import Validation
from train.methods.fit_diffiqa import DiffusionSettings, fit_diffiqa
from train.networks import QualityNetwork, load_state, read_state
from train.run_state import RunRecord

WHOLE = (Group(1e-3), Group(1e-4))
SETTINGS = FitSettings(epochs=3, batch_size=4, groups=WHOLE, schedule="one-cycle", ema=0.9, flip=0.5)
SWA = FitSettings(
    epochs=3, batch_size=4, groups=(Group(0.05, -1, 5e-4, 0.9), Group(0.05, 3, 0.0, 0.1)), optimiser="sgd",
    schedule="swa", validations=3, ema=0.1, flip=0.5,
)  # fmt: skip


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
    validation_set = FaceDataset(manifest, range(10, 12), {"label": label})
    return fit_tiny(network, train_set, validation_set, loss, settings, out)


def fresh() -> QualityNetwork:
    torch.manual_seed(0)
    return QualityNetwork(TINY.backbone(), 16, 8)


@pytest.mark.parametrize("stop_at", [2, 4, 6, 9])
@pytest.mark.parametrize("kind", [SETTINGS, SWA], ids=["one-cycle", "swa"])
def test_an_interrupted_run_ends_with_the_same_weights(
    crops: Path, tmp_path: Path, stop_at: int, kind: FitSettings
) -> None:
    settings = dataclasses.replace(kind, save_every=1)
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
    settings = dataclasses.replace(SETTINGS, epochs=25, groups=(Group(0.02), Group(0.02)), ema=0.0, flip=0.0)
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
    with pytest.raises(InputError, match=r"clip=5.0, this one has clip=0.5"):
        run(fresh(), crops, tmp_path / "run", dataclasses.replace(SETTINGS, clip=0.5), Loss())
    run(fresh(), crops, tmp_path / "run", dataclasses.replace(SETTINGS, save_every=7, cache=True), Loss())


def test_a_checkpoint_of_an_earlier_version_is_refused(crops: Path, tmp_path: Path) -> None:
    torch.save({"settings": {}, "network": {}, "progress": {}}, tmp_path / "state.pt")
    with pytest.raises(InputError, match=r"state\.pt was written by an earlier version .* delete it to start anew"):
        run(fresh(), crops, tmp_path, SETTINGS, Loss())


@pytest.mark.parametrize("content", [b"", b"no zip", None])
def test_a_damaged_checkpoint_is_an_error(crops: Path, tmp_path: Path, content: bytes | None) -> None:
    if content is None:
        torch.save({"settings": dataclasses.asdict(SETTINGS), "model": {}}, tmp_path / "state.pt")
    else:
        (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"state\.pt is damaged .* delete it to start anew"):
        run(fresh(), crops, tmp_path, SETTINGS, Loss())


def test_a_finished_run_does_nothing_more(crops: Path, tmp_path: Path) -> None:
    run(fresh(), crops, tmp_path / "run", SETTINGS, Loss())
    again = Loss()
    run(fresh(), crops, tmp_path / "run", SETTINGS, again)
    assert again.steps == 0


def test_groups_freeze_the_rest(tiny_network: QualityNetwork) -> None:
    groups = (Group(1e-3, -1, 1e-4), Group(1e-4, 2, 1e-5), Group(1e-5, 1))
    head, last, before = parameter_groups(tiny_network, dataclasses.replace(SETTINGS, groups=groups))
    backbone = dict(tiny_network.base_model.named_parameters())
    for found, names, rate, decay in (
        (last, ("fc.weight", "fc.bias"), 1e-4, 1e-5),
        (before, ("bn.bias",), 1e-5, 0.0),
    ):
        assert (found["lr"], found["weight_decay"]) == (rate, decay)
        assert [id(parameter) for parameter in found["params"]] == [id(backbone[name]) for name in names]
    assert (head["lr"], head["weight_decay"], len(head["params"])) == (1e-3, 1e-4, 4)
    assert [parameter.requires_grad for parameter in backbone.values()] == [False] * 2 + [True] * 3
    assert "momentum" not in head


def test_frozen_norms_are_in_no_group(tiny_network: QualityNetwork) -> None:
    groups = parameter_groups(tiny_network, dataclasses.replace(SETTINGS, frozen_norm=True))
    assert [len(group["params"]) for group in groups] == [4, 3]
    assert not tiny_network.base_model.bn.weight.requires_grad  # type: ignore[union-attr]


def test_momentum_is_a_groups_own(tiny_network: QualityNetwork) -> None:
    assert [group["momentum"] for group in parameter_groups(tiny_network, SWA)] == [0.9, 0.1]


def test_rates() -> None:
    assert learning_rate(dataclasses.replace(SETTINGS, schedule="constant"), 0.5, 7, 10) == 0.5
    for step, wanted in ((0, 0.1), (9, 1.0), (55, 0.5), (100, 0.0)):
        assert learning_rate(SETTINGS, 2.0, step, 100) == pytest.approx(2 * wanted)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.0),  # the sine's rise over the first 15 of 100 steps
        (5, 0.5),  # sin(pi / 6)
        (10, 0.75**0.5),  # sin(pi / 3)
        (15, 1.0),
        (39, 1.0),
        (40, 0.95),  # the first tenth of the way from 1 to 0.5
        (50, 0.9),
        (99, 0.7),
    ],
)
def test_rates_of_ai_kd(step: int, rate: float) -> None:
    settings = FitSettings(epochs=1, optimiser="sgd", schedule="swa", swa_lr=0.5, validations=10, ema=0.1)
    assert learning_rate(settings, 1.0, step, 100) == pytest.approx(rate)


def test_swa_rates_are_those_of_torch() -> None:
    settings = FitSettings(epochs=1, optimiser="sgd", schedule="swa", swa_lr=0.05, validations=30, ema=0.1)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=0.2)
    published = SWALR(optimiser, 0.05, anneal_epochs=10, anneal_strategy="linear")
    for step in range(100, 300):
        if validations_until(settings, step, 300) > validations_until(settings, step - 1, 300):
            optimiser.step()
            published.step()
        assert learning_rate(settings, 0.2, step, 300) == pytest.approx(optimiser.param_groups[0]["lr"])


def test_validations_are_spread_over_the_epochs() -> None:
    settings = dataclasses.replace(SETTINGS, epochs=2, validations=20)
    counts = [validations_until(settings, step, 2 * 37) for step in range(75)]
    assert counts[37] == 20
    assert counts[74] == 40
    assert set(np.diff(counts)) == {0, 1}
    swa = dataclasses.replace(SWA, epochs=1, validations=10)
    steps = [step for step in range(1, 51) if validations_until(swa, step, 50) > validations_until(swa, step - 1, 50)]
    assert steps == [20, 25, 30, 35, 40, 45, 50]


def test_ai_kd_averages_at_each_validation_and_judges_the_student(crops: Path, tmp_path: Path) -> None:
    class Recording(Validation):
        def after_step(self, step: int, learner: Learner, terms: Terms) -> bool:
            if validation_due(settings, step, 10):
                averages.append({key: value.clone() for key, value in learner.kept.state_dict().items()})
                students.append({key: value.clone() for key, value in learner.network.state_dict().items()})
            return super().after_step(step, learner, terms)

    averages: list[dict[str, Tensor]] = []
    students: list[dict[str, Tensor]] = []
    manifest = read_manifest(crops)
    train_set, validation_set = (
        FaceDataset(manifest, rows, {"label": np.linspace(0, 1, 12)}) for rows in (range(10), range(10, 12))
    )
    settings = dataclasses.replace(SWA, epochs=1, batch_size=1, validations=10, flip=0.0)
    task = quality_task(fresh(), TINY, train_set, Loss(), settings)
    out = tmp_path / "run"
    Trainer(task, Recording(validation_set, settings, out), settings, out, RunRecord({})).run()
    history = json.loads((tmp_path / "run/history.json").read_text())
    assert [entry["step"] for entry in history] == [4, 5, 6, 7, 8, 9, 10]
    for key, first in students[0].items():
        assert torch.equal(averages[0][key], first)
        if first.is_floating_point():
            torch.testing.assert_close(averages[1][key], 0.1 * first + 0.9 * students[1][key])
    best = int(np.argmin([entry["total"] for entry in history]))
    kept = read_state(tmp_path / "run/best.safetensors")
    assert all(torch.equal(value, kept[key]) for key, value in averages[best].items())
    student = fresh()
    student.load_state_dict(students[best])
    images = torch.stack([FaceDataset(manifest, [row], {})[(0, 0)]["image"] for row in (10, 11)])
    with torch.no_grad():
        scores = student.eval()((images.float() / 255 - 0.5) / 0.5)[:, 0]
    error = (scores - torch.linspace(0, 1, 12)[10:]).abs().mean()
    assert history[best]["total"] == pytest.approx(float(error), abs=1e-5)


def test_validation_within_an_epoch_leaves_training_as_it_was(crops: Path, tmp_path: Path) -> None:
    often = dataclasses.replace(SETTINGS, validations=3)
    once, thrice = fresh(), fresh()
    run(once, crops, tmp_path / "once", SETTINGS, Loss())
    run(thrice, crops, tmp_path / "thrice", often, Loss())
    assert all(torch.equal(value, thrice.state_dict()[key]) for key, value in once.state_dict().items())
    assert len(json.loads((tmp_path / "thrice/history.json").read_text())) == 9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"groups": (Group(1e-3, 4),)}, "wanted one without 'tensors'"),
        ({"groups": (Group(1e-3, momentum=0.9),)}, "momentum and the optimiser is adam"),
        ({"schedule": "swa"}, "schedule is swa and ema is 0"),
        ({"optimiser": "lion"}, "optimiser is 'lion', wanted adam, adamw or sgd"),
        ({"validations": 0}, "validations is 0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FitSettings(**settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="fp16 works on a CUDA device")
@pytest.mark.parametrize(
    "train",
    [
        lambda crops, out: run(fresh(), crops, out, dataclasses.replace(SETTINGS, precision="fp16"), Loss()),
        lambda crops, out: fit_diffiqa(DiffusionSettings(width=8, steps=1, precision="fp16"), crops, out),
    ],
    ids=["regressor", "diffusion"],
)
def test_a_precision_that_the_device_lacks_is_refused(crops: Path, tmp_path: Path, train: Any) -> None:
    AcceleratorState._reset_state()  # as in a new process; in later runs of one, accelerate refuses another precision
    try:
        with pytest.raises(InputError, match=r"precision is fp16 .* needs a GPU; write bf16 or no"):
            train(crops, tmp_path / "run")
    finally:
        AcceleratorState._reset_state()


def test_a_loss_that_is_no_number_is_an_error(crops: Path, tmp_path: Path) -> None:
    wild = dataclasses.replace(SETTINGS, groups=(Group(1e30), Group(1e30)), optimiser="sgd", clip=1e30)
    with pytest.raises(InputError, match="validation loss is nan at step 3"):
        run(fresh(), crops, tmp_path / "run", wild, Loss())


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Each with half the batch: the same loss curve."""
    processes = start_two(str(Path(train_in_processes.__file__)), str(tmp_path / "two"), "4")
    train_in_processes.main(tmp_path / "one", 8)
    assert [process.wait() for process in processes] == [0, 0]
    one, two = (json.loads((tmp_path / folder / "history.json").read_text()) for folder in ("one", "two"))
    assert one[-1]["total"] < 0.5 * one[0]["total"]
    np.testing.assert_allclose([entry["total"] for entry in two], [entry["total"] for entry in one], rtol=1e-4)


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
