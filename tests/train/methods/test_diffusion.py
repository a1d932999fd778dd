"""The diffusion model against its recording, its checkpoints, and its training."""

import dataclasses
import hashlib
import json
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from sdk.errors import InputError, ModelError, OutputError
from tests.support.device_waits import steps_without_waiting
from tests.support.diffusion import SETTINGS
from tests.support.processes import start_two
from tests.support.weights import golden_image, golden_noise, tame_diffusion, tame_network
from train.data.manifest import make_manifest
from train.fitting.settings import recorded
from train.methods import fit_diffiqa as module
from train.methods.diffusion import Diffusion, ddim_transitions, load_diffusion, schedule_buffers
from train.methods.fit_diffiqa import DiffusionSettings, PairDataset, clean_rows, diffusion_settings, fit_diffiqa
from train.networks import read_state, save_network
from train.networks.unet import frozen_unet
from train.recipes import read_recipe
from train.run_state import RunRecord

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
SHAPE = (2, 3, 112, 112)


@pytest.fixture(scope="module")
def diffusion() -> Diffusion:
    return tame_diffusion(16)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "diffusion.npz"))


def thinned(images: Tensor) -> np.ndarray:
    return images[..., ::4, ::4].numpy()


def test_keys_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        state = Diffusion().state_dict()
    wanted = json.loads((GOLDEN / "diffusion_state_dict_shapes.json").read_text())
    assert {key: list(value.shape) for key, value in state.items()} == wanted
    assert list(state) == list(wanted)


@torch.no_grad()
@pytest.mark.parametrize("t", [0, 4, 99])
@pytest.mark.parametrize("frozen", [False, True])
def test_golden_unet(diffusion: Diffusion, golden: dict[str, np.ndarray], t: int, frozen: bool) -> None:
    images = torch.from_numpy(golden_image("diffusion", SHAPE)).contiguous(memory_format=torch.channels_last)
    unet = frozen_unet(diffusion.model) if frozen else diffusion.model
    np.testing.assert_allclose(thinned(unet(images, torch.tensor([t, t]))), golden[f"unet/t{t}"], atol=1e-4)


@torch.no_grad()
def test_golden_noise_and_restoration(diffusion: Diffusion, golden: dict[str, np.ndarray]) -> None:
    images = torch.from_numpy(golden_image("diffusion", SHAPE))
    noisy = diffusion.q_sample(images, torch.tensor([5, 5]), golden_noise("q_sample", SHAPE))
    np.testing.assert_allclose(thinned(noisy), golden["q_sample/t5"], atol=1e-6)
    restored = diffusion.restore(noisy, 5, [golden_noise(f"ddim/{index}", SHAPE) for index in range(4)])
    np.testing.assert_allclose(thinned(restored), golden["ddim/t5"], atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("t", [0, 50, 99])
def test_golden_loss(diffusion: Diffusion, golden: dict[str, np.ndarray], t: int) -> None:
    clean, degraded = (torch.from_numpy(golden_image(name, SHAPE)) for name in ("hq", "lq"))
    loss = diffusion.loss(clean, degraded, torch.tensor([t, t]), golden_noise("loss", SHAPE))
    assert float(loss) == pytest.approx(float(golden[f"loss/t{t}"]), abs=1e-5)


def test_golden_schedule(golden: dict[str, np.ndarray]) -> None:
    for name in ("betas", "alphas_cumprod"):
        np.testing.assert_allclose(schedule_buffers()[name].float().numpy(), golden[f"schedule/{name}"], atol=1e-7)


@pytest.mark.parametrize(
    ("t", "steps"), [(5, [4, 3, 2, 1, 0, 0, -1]), (1, [0, 0, -1]), (2, [1, 0, 0, -1]), (3, [2, 1, 0, 0, -1])]
)
def test_transitions(t: int, steps: list[int]) -> None:
    assert ddim_transitions(t) == list(pairwise(steps))


def test_checkpoints_load_whatever_their_width(tmp_path: Path) -> None:
    ours = tame_diffusion(8)
    save_network(ours, tmp_path / "ours.safetensors")
    published = {"step": 3, "model": ours.state_dict(), "opt": {"state": {}}, "ema": {}, "scaler": None, "version": "1"}
    torch.save(published, tmp_path / "published.pt")
    for name in ("ours.safetensors", "published.pt"):
        loaded = load_diffusion(tmp_path / name)
        assert not loaded.training
        assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in ours.state_dict().items())


def test_wrong_checkpoints(tmp_path: Path) -> None:
    save_network(tame_network("ediffiqa-t"), tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=r"holds no model.init_conv.weight, wanted .*fit diffiqa"):
        load_diffusion(tmp_path / "other.safetensors")
    state = tame_diffusion(8).state_dict()
    torch.save({"model": state | {"model.init_conv.weight": torch.zeros(12, 3, 7, 7)}}, tmp_path / "odd.pt")
    with pytest.raises(ModelError, match=r"of shape \(12, 3, 7, 7\), wanted .* multiple of 8"):
        load_diffusion(tmp_path / "odd.pt")
    del state["model.final_conv.bias"]
    torch.save({"model": state}, tmp_path / "short.pt")
    with pytest.raises(ModelError, match=r"1 missing keys, first 'model.final_conv.bias'"):
        load_diffusion(tmp_path / "short.pt")


class PowerCutError(Exception):
    """Ends a run at any place."""


def cut_after(monkeypatch: pytest.MonkeyPatch, items: int) -> None:
    """Let a run end at its `items`-th sample."""
    left = [items]
    degrade = module.degrade_face

    def degrade_or_end(*arguments: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise PowerCutError
        return degrade(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "degrade_face", degrade_or_end)


def weights_in_training(folder: Path) -> dict[str, Tensor]:
    """Those that are trained, not their average, which `read_state` would prefer."""
    state: dict[str, Tensor] = torch.load(folder / "state.pt", weights_only=True)["model"]
    return state


def states(folder: Path) -> list[dict[str, Tensor]]:
    return [read_state(folder / "diffusion.safetensors"), weights_in_training(folder)]


def assert_same(one: Path, other: Path) -> None:
    for first, second in zip(states(one), states(other), strict=True):
        assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert (one / "losses.json").read_text() == (other / "losses.json").read_text()
    assert (one / "samples/000005.png").read_bytes() == (other / "samples/000005.png").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Five faces, so that a pass ends within a step, and a run that was not interrupted."""
    faces, out = tmp_path_factory.mktemp("faces"), tmp_path_factory.mktemp("whole")
    for index in range(5):
        noise = np.random.default_rng(index).integers(0, 256, (14, 14, 3), dtype=np.uint8)
        cv2.imwrite(str(faces / f"{index}.png"), cv2.resize(noise, (112, 112), interpolation=cv2.INTER_CUBIC))
    assert fit_diffiqa(SETTINGS, faces, out) == out / "diffusion.safetensors"
    return faces, out


@pytest.mark.parametrize(
    ("asked", "steps", "wanted"), [(None, 7, True), (None, 6, False), (False, 7, False), (True, 2, True)]
)
def test_a_long_training_on_a_gpu_compiles(
    asked: bool | None, steps: int, wanted: bool, whole: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is decided by itself is no setting of the run, which may go on elsewhere."""
    made: list[tuple[Any, RunRecord]] = []

    class Seen:
        def __init__(self, task: Any, results: Any, settings: DiffusionSettings, out: Path, record: RunRecord) -> None:
            made.append((settings.compile, record))

        def run(self) -> None: ...

    monkeypatch.setattr(module, "Trainer", Seen)
    monkeypatch.setattr(module, "COMPILE_FROM", 7)
    monkeypatch.setattr(module, "worth_compiling", lambda device, work, least: work >= least)
    fit_diffiqa(dataclasses.replace(SETTINGS, steps=steps, compile=asked), *whole)
    ((compiled, record),) = made
    assert compiled is wanted
    assert ("compile" in record.as_dict()) is (asked is True)


def test_a_gpu_waits_for_nothing(whole: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with steps_without_waiting(monkeypatch):
        fit_diffiqa(SETTINGS, whole[0], tmp_path)


@pytest.mark.parametrize("items", [4, 8, 13])
def test_an_interrupted_run_ends_with_the_same_weights(
    whole: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, items: int
) -> None:
    faces, out = whole
    with monkeypatch.context() as patch:
        cut_after(patch, items)
        with pytest.raises(PowerCutError):
            fit_diffiqa(SETTINGS, faces, tmp_path / "cut")
    fit_diffiqa(SETTINGS, faces, tmp_path / "cut")
    assert_same(out, tmp_path / "cut")


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.support.diffusion import SETTINGS
from train.methods import fit_diffiqa as module
from train.methods.fit_diffiqa import fit_diffiqa

degrade, left = module.degrade_face, [int(sys.argv[3])]

def degrade_or_die(*arguments):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return degrade(*arguments)

module.degrade_face = degrade_or_die
fit_diffiqa(SETTINGS, Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_killed_run_ends_with_the_same_weights(whole: tuple[Path, Path], tmp_path: Path) -> None:
    """Also as a run in this process, in which other tests have set the number of threads."""
    faces, uncut = whole

    def train(faces_left: int) -> int:
        command = [sys.executable, "-c", KILLED, str(faces), str(tmp_path / "cut"), str(faces_left)]
        return subprocess.run(command, cwd=Path(__file__).parents[3], check=False).returncode

    assert train(10) == -signal.SIGKILL
    assert 0 < len(torch.load(tmp_path / "cut/state.pt", weights_only=True)["losses"]) < SETTINGS.steps
    assert train(10**6) == 0
    assert_same(uncut, tmp_path / "cut")


def test_outputs(whole: tuple[Path, Path]) -> None:
    _, out = whole
    state = torch.load(out / "state.pt", weights_only=True)
    assert state["step"] == 5
    assert {"model", "opt", "ema", "scaler"} <= set(state)
    assert len(json.loads((out / "losses.json").read_text())) == 5
    assert [path.name for path in sorted((out / "samples").iterdir())] == ["000003.png", "000005.png"]
    assert cv2.imread(str(out / "samples/000003.png")).shape == (112, 5 * 3 * 112, 3)
    assert list((out / "tensorboard").rglob("events*"))


def test_the_average_is_kept(whole: tuple[Path, Path], tmp_path: Path) -> None:
    """After updates at the steps 2 and 4: the first is a copy, then `0.995 * average + 0.005 * weights`."""
    faces, out = whole
    average: dict[str, Tensor] = {}
    for steps in (2, 4):
        fit_diffiqa(dataclasses.replace(SETTINGS, steps=steps), faces, tmp_path)
        weights = weights_in_training(tmp_path)
        average = {key: 0.995 * average[key] + 0.005 * value if average else value for key, value in weights.items()}
    for key, value in read_state(out / "diffusion.safetensors").items():
        torch.testing.assert_close(value, average[key], atol=1e-6, rtol=1e-5)


def test_accumulation_is_a_larger_batch(whole: tuple[Path, Path], tmp_path: Path) -> None:
    """Two passes of one face are one of two: equal losses, and steps of Adam that all but rounding decides alike."""
    faces, _ = whole
    losses, weights = [], []
    for batch_size, accumulate in ((1, 2), (2, 1)):
        settings = dataclasses.replace(SETTINGS, steps=1, batch_size=batch_size, accumulate=accumulate)
        out = tmp_path / str(accumulate)
        fit_diffiqa(settings, faces, out)
        losses.append(json.loads((out / "losses.json").read_text()))
        weights.append(torch.cat([value.flatten() for value in weights_in_training(out).values()]))
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert float((weights[0] - weights[1]).abs().mean()) < 0.05 * SETTINGS.lr


def test_two_processes_train_as_one(whole: tuple[Path, Path], tmp_path: Path) -> None:
    """Each with half the batch: the same loss curve."""
    faces, _ = whole
    recipe = tmp_path / "tiny.yaml"
    settings = dataclasses.replace(SETTINGS, steps=2, accumulate=1)
    names = ("width", "steps", "batch_size", "accumulate", "workers")
    recipe.write_text(json.dumps({"diffusion": {name: getattr(settings, name) for name in names}}))
    two = start_two("-m", "train.cli", "fit", "diffiqa", str(recipe), str(faces), "--out", str(tmp_path / "two"))
    fit_diffiqa(dataclasses.replace(settings, batch_size=2), faces, tmp_path / "one")
    assert [process.wait() for process in two] == [0, 0]
    one, both = (json.loads((tmp_path / folder / "losses.json").read_text()) for folder in ("one", "two"))
    assert both == pytest.approx(one, rel=1e-4)


def test_loading_processes_change_nothing(whole: tuple[Path, Path], tmp_path: Path) -> None:
    faces, out = whole
    fit_diffiqa(dataclasses.replace(SETTINGS, workers=2), faces, tmp_path / "workers")
    assert_same(out, tmp_path / "workers")


@pytest.mark.parametrize(("largest", "where"), [(200_000, "diffusion.safetensors"), (6_000_000, "state.pt")])
def test_a_full_disk_loses_nothing(whole: tuple[Path, Path], tmp_path: Path, largest: int, where: str) -> None:
    resource = pytest.importorskip("resource", reason="needs a limit on the size of files")
    faces, out = whole
    fit_diffiqa(dataclasses.replace(SETTINGS, steps=3), faces, tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, limits[1]))
    try:
        with pytest.raises(OutputError, match=rf"{where} cannot be written .* make room and start again"):
            fit_diffiqa(SETTINGS, faces, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(torch.load(tmp_path / "state.pt", weights_only=True)["losses"]) == 3
    assert list(tmp_path.glob(".*")) == []
    fit_diffiqa(SETTINGS, faces, tmp_path)
    assert_same(out, tmp_path)


def test_other_settings_do_not_resume(whole: tuple[Path, Path]) -> None:
    faces, out = whole
    with pytest.raises(InputError, match=r"lr=8e-05, this one has lr=0.1; give another --out"):
        fit_diffiqa(dataclasses.replace(SETTINGS, lr=0.1), faces, out)
    fit_diffiqa(dataclasses.replace(SETTINGS, save_every=7), faces, out)


def test_a_checkpoint_of_the_first_version_goes_on(whole: tuple[Path, Path], tmp_path: Path) -> None:
    """Its settings were a dictionary with tuples."""
    faces, out = whole
    fit_diffiqa(dataclasses.replace(SETTINGS, steps=3), faces, tmp_path)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    images = hashlib.sha256(b"0.png\n1.png\n2.png\n3.png\n4.png").hexdigest()
    settings = recorded(dataclasses.replace(SETTINGS, steps=3, workers=7))
    torch.save({**state, "settings": {**settings, "faces": 5, "images": images}}, tmp_path / "state.pt")
    fit_diffiqa(SETTINGS, faces, tmp_path)
    assert_same(out, tmp_path)


def test_other_faces_do_not_resume(whole: tuple[Path, Path], tmp_path: Path) -> None:
    faces, out = whole
    others = tmp_path / "others"
    shutil.copytree(faces, others)
    first = min(others.rglob("*.png"))
    first.rename(first.with_name("other.png"))
    with pytest.raises(InputError, match=r"state.pt is of a run with other images; give another --out"):
        fit_diffiqa(SETTINGS, others, out)


def test_pairs_depend_on_seed_pass_and_row_alone(crops: Path) -> None:
    manifest = make_manifest([{"path": str(path)} for path in sorted(crops.rglob("*.png"))], crops)
    data = PairDataset(manifest, range(12), {}, flip=0.5, seed=1)
    again = PairDataset(manifest, range(12), {}, flip=0.5, seed=1)
    other = PairDataset(manifest, range(12), {}, flip=0.5, seed=2)
    item = data[(3, 4)]
    assert {name: (value.dtype, tuple(value.shape)) for name, value in item.items() if name != "step"} == {
        "image": (torch.uint8, (3, 112, 112)),
        "degraded": (torch.uint8, (3, 112, 112)),
        "noise": (torch.float32, (3, 112, 112)),
    }
    for name in ("degraded", "noise", "step"):
        assert torch.equal(torch.as_tensor(item[name]), torch.as_tensor(again[(3, 4)][name]))
        for changed in (data[(4, 4)], other[(3, 4)]):
            assert not torch.equal(torch.as_tensor(item[name]), torch.as_tensor(changed[name]))
    steps = [data[(epoch, row)]["step"] for epoch in range(4) for row in range(12)]
    assert min(steps) >= 0
    assert 50 < max(steps) < 100
    images = [[data[(epoch, row)]["image"] for epoch in (0, 1)] for row in range(12)]
    flipped = next(row for row, (one, other) in enumerate(images) if not torch.equal(one, other))
    for epoch in (0, 1):  # the copy is flipped with its face: it looks more like it than like its mirror image
        pair = {name: value.float() for name, value in data[(epoch, flipped)].items() if name != "step"}
        near, far = ((pair["degraded"] - image).square().mean() for image in (pair["image"], pair["image"].flip(-1)))
        assert near < far


def test_only_clean_training_rows(tmp_path: Path) -> None:
    rows = [("train", ""), ("train", "blur=0.5"), ("test", ""), ("train", None)]
    listed = [{"path": str(i), "split": split, "degradation": damage} for i, (split, damage) in enumerate(rows)]
    assert clean_rows(make_manifest(listed, tmp_path)).tolist() == [0, 3]
    assert clean_rows(make_manifest([{"path": "a"}, {"path": "b"}], tmp_path)).tolist() == [0, 1]
    (tmp_path / "m.csv").write_text("path,split\na.png,test\n")
    with pytest.raises(InputError, match="no clean face to train on"):
        fit_diffiqa(SETTINGS, tmp_path / "m.csv", tmp_path / "out")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"width": 12}, "multiple of 8"), ({"steps": 0}, "steps is 0"), ({"precision": "fp8"}, "wanted no, bf16 or fp16")],
)
def test_bad_settings(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SETTINGS, **wrong)


def test_recipes() -> None:
    published = diffusion_settings(read_recipe("diffiqa"))
    assert dataclasses.replace(published, precision="no", workers=4) == DiffusionSettings()
    assert diffusion_settings(read_recipe("diffiqa-small")).width == 16
    with pytest.raises(InputError, match="no section 'diffusion'"):
        diffusion_settings(read_recipe("ediffiqa-t"))


def test_the_frozen_network_is_whole_on_its_device() -> None:
    """The device `meta` stands for a GPU; a copy in half precision is whole, too."""
    frozen = frozen_unet(tame_diffusion(8).model.to("meta"), torch.bfloat16)
    assert {(value.device.type, value.dtype) for value in frozen.parameters()} == {("meta", torch.bfloat16)}


def test_half_precision_is_nearer_to_float32_than_autocast() -> None:
    model, step = tame_diffusion(8).model, torch.tensor([4])
    image = torch.from_numpy(golden_image("diffusion", (1, 3, 112, 112))).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        exact = frozen_unet(model)(image, step)
        half = frozen_unet(model, torch.bfloat16)(image, step).float()
        with torch.autocast("cpu", torch.bfloat16):
            cast = frozen_unet(model)(image, step).float()
    assert float((half - exact).abs().mean()) < 0.6 * float((cast - exact).abs().mean())
