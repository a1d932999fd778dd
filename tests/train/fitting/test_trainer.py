"""The training loop: it learns, it resumes exactly, it keeps the best."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from sdk.errors import InputError
from tests.support import train_in_processes
from tests.support.graphs import Graphs
from tests.support.processes import start_two
from tests.support.tiny_networks import TINY, fit_tiny
from train.data.dataset import FaceDataset
from train.data.manifest import read_manifest
from train.device.passes import GraphedPasses
from train.fitting import learner
from train.fitting.learner import Learner
from train.fitting.quality import quality_task
from train.fitting.settings import FitSettings, Group, validation_due
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


@pytest.mark.parametrize("kind", [SETTINGS, SWA], ids=["one-cycle", "swa"])
def test_graphs_change_no_weight_and_a_run_of_them_resumes_exactly(
    crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: FitSettings
) -> None:
    settings, made = dataclasses.replace(kind, save_every=1), []
    plain = fresh()
    run(plain, crops, tmp_path / "plain", settings, Loss())
    begin = Learner.__init__

    def graphed(self: Learner, *arguments: Any) -> None:
        begin(self, *arguments)
        made.append(Graphs(self.network, monkeypatch))
        self._passes = GraphedPasses(self._pass_by_pass, self.network)

    monkeypatch.setattr(Learner, "__init__", graphed)
    whole = fresh()
    run(whole, crops, tmp_path / "whole", settings, Loss())
    with pytest.raises(KeyboardInterrupt):
        run(fresh(), crops, tmp_path / "cut", settings, Loss(7))
    run(fresh(), crops, tmp_path / "cut", settings, Loss())
    states = [read_state(tmp_path / name / "last.safetensors") for name in ("plain", "whole", "cut")]
    for key, value in states[0].items():
        for other in states[1:]:
            torch.testing.assert_close(value, other[key], rtol=0, atol=0)
    # An epoch is batches of 4, 4 and 2: one is replayed to prove the graph, two in each of the other epochs.
    assert [(graphs.made, graphs.replays) for graphs in made[:1]] == [(1, 1 + 4)]


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


def logged(folder: Path) -> dict[str, list[int]]:
    """Steps of each curve in TensorBoard's logs."""
    (events,) = {path.parent for path in folder.rglob("events*")}
    log = EventAccumulator(str(events))
    log.Reload()
    return {name: [event.step for event in log.Scalars(name)] for name in log.Tags()["scalars"]}


def test_a_short_run_has_points(crops: Path, tmp_path: Path) -> None:
    """9 steps: fewer than the usual distance of two points."""
    run(fresh(), crops, tmp_path / "run", dataclasses.replace(SETTINGS, validations=3), Loss())
    curves = logged(tmp_path / "run/tensorboard")
    assert curves == {"train/total": list(range(1, 10)), "validation/total": list(range(1, 10))}


def test_trackers(crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(fresh(), crops, tmp_path / "none", dataclasses.replace(SETTINGS, trackers=()), Loss())
    assert not (tmp_path / "none/tensorboard").exists()
    run(fresh(), crops, tmp_path / "none", SETTINGS, Loss())  # trackers decide no weight: the run is the same
    monkeypatch.setattr(learner, "find_spec", lambda name: None)
    for name, extra in (("tensorboard", "train"), ("wandb", "wandb"), ("mlflow", "mlflow")):
        with pytest.raises(InputError, match=rf"the tracker {name} is not installed; pip install 'fiqa\[{extra}\]'"):
            run(fresh(), crops, tmp_path / name, dataclasses.replace(SETTINGS, trackers=(name,)), Loss())
    with pytest.raises(InputError, match="trackers has 'aim', wanted some of tensorboard, wandb, mlflow"):
        dataclasses.replace(SETTINGS, trackers=("aim",))


def test_a_tracker_that_cannot_start(crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object) -> None:
        raise ConnectionError("no server at example")

    monkeypatch.setattr("accelerate.tracking.TensorBoardTracker.start", refuse)
    with pytest.raises(InputError, match="a tracker cannot start: no server at example; leave it out"):
        run(fresh(), crops, tmp_path / "run", SETTINGS, Loss())


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


def test_gradients_that_are_there_before_do_not_count(crops: Path, tmp_path: Path) -> None:
    """The warm-up of a head leaves some."""
    clean, used = fresh(), fresh()
    for parameter in used.mlp.parameters():
        parameter.grad = torch.ones_like(parameter)
    for network, name in ((clean, "clean"), (used, "used")):
        run(network, crops, tmp_path / name, SETTINGS, Loss())
    assert all(torch.equal(value, used.state_dict()[key]) for key, value in clean.state_dict().items())


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
