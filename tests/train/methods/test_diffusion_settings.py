"""The settings of the diffusion model that are not the published ones: multipliers, schedule, objective, loss."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from sdk.errors import InputError, ModelError
from tests.support.diffusion import SETTINGS
from tests.support.weights import golden_noise, tame_network
from train.cli import app
from train.data.manifest import read_table
from train.methods import fit_diffiqa as module
from train.methods.diffusion import RESTORED, TARGETS, Diffusion, load_diffusion, schedule_buffers
from train.methods.fit_diffiqa import CHOSEN_LATER, diffusion_settings, fit_diffiqa
from train.networks import read_state, save_network
from train.recipes import read_recipe

SHAPE = (2, 3, 112, 112)
OTHERS = {"multipliers": [1, 2], "timesteps": 200, "schedule": "linear", "objective": "v", "loss": "l1"}


@pytest.mark.parametrize(("objective", "target"), [("x0", 0.5), ("noise", -1.0), ("v", 0.8 * -1.0 - 0.6 * 0.5)])
def test_objectives_by_hand(objective: str, target: float) -> None:
    """With a = 0.64: the image 0.5 and the noise -1 make 0.8 * 0.5 - 0.6 * 1 = -0.2."""
    kept, added, clean, noisy = (torch.tensor(value, dtype=torch.float64) for value in (0.8, 0.6, 0.5, -0.2))
    assert float(TARGETS[objective](noisy, clean, kept, added)) == pytest.approx(target, abs=1e-12)
    predicted = torch.tensor(target, dtype=torch.float64)
    assert float(RESTORED[objective](noisy, predicted, kept, added)) == pytest.approx(0.5, abs=1e-12)


class Perfect(nn.Module):
    """Stands for a UNet that predicts what it should for a certain clean image, and `off` more."""

    def __init__(self, diffusion: Diffusion, clean: Tensor, off: float = 0.0) -> None:
        super().__init__()
        self._buffers_of, self._clean, self._off = dict(diffusion.named_buffers()), clean, off
        self._objective = diffusion.objective

    def forward(self, noisy: Tensor, steps: Tensor) -> Tensor:
        a = self._buffers_of["alphas_cumprod"][steps].view(-1, 1, 1, 1).double()
        noise = (noisy - a.sqrt() * self._clean) / (1 - a).sqrt()
        wanted = {"x0": self._clean, "noise": noise, "v": a.sqrt() * noise - (1 - a).sqrt() * self._clean}
        return (wanted[self._objective] + self._off).float()


@pytest.mark.parametrize("objective", ["x0", "noise", "v"])
def test_a_perfect_network_restores_the_clean_face(objective: str) -> None:
    """From noise, by DDIM, and at once from a mixture with the degraded face."""
    diffusion = Diffusion(8, (1,), objective=objective)
    clean, degraded = (golden_noise(name, SHAPE).clamp(-2, 2) / 2 for name in ("clean", "degraded"))
    diffusion.model = Perfect(diffusion, clean)  # type: ignore[assignment]
    noisy = diffusion.q_sample(clean, torch.tensor([5, 5]), golden_noise("noise", SHAPE))
    restored = diffusion.restore(noisy, 5, [golden_noise(f"ddim/{index}", SHAPE) for index in range(4)])
    torch.testing.assert_close(restored, clean, atol=1e-5, rtol=0)
    steps = torch.tensor([1, 99])
    mixture = diffusion.mixture(clean, degraded, steps, golden_noise("noise", SHAPE))
    torch.testing.assert_close(diffusion.predict(mixture, steps), clean, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("loss", "wanted"), [("l2", 0.25), ("l1", 0.5)])
@pytest.mark.parametrize("objective", ["x0", "noise", "v"])
def test_losses(objective: str, loss: str, wanted: float) -> None:
    """Of predictions that are right, and of such that are 0.5 too large."""
    diffusion = Diffusion(8, (1,), objective=objective)
    clean, degraded, noise = (golden_noise(name, SHAPE) for name in ("clean", "degraded", "noise"))
    for off, error in ((0.0, 0.0), (0.5, wanted)):
        diffusion.model = Perfect(diffusion, clean, off)  # type: ignore[assignment]
        found = diffusion.loss(clean, degraded, torch.tensor([0, 70]), noise, loss)
        assert float(found) == pytest.approx(error, abs=1e-3)


def test_linear_schedule() -> None:
    """Betas from 0.0001 to 0.02 with 1000 timesteps, ten times as much with 100."""
    betas = np.linspace(0.0001, 0.02, 1000)
    buffers = schedule_buffers("linear")
    for step in (0, 5, 99, 999):
        assert float(buffers["betas"][step]) == pytest.approx(betas[step], rel=1e-9)
        assert float(buffers["alphas_cumprod"][step]) == pytest.approx(np.prod(1 - betas[: step + 1]), rel=1e-9)
    few = schedule_buffers("linear", 100)["betas"]
    assert [float(few[0]), float(few[-1]), len(few)] == pytest.approx([0.001, 0.2, 100])


@pytest.mark.parametrize("timesteps", [100, 1000])
def test_cosine_schedule(timesteps: int) -> None:
    kept = schedule_buffers("cosine", timesteps)["alphas_cumprod"]

    def f(step: int) -> float:
        return float(np.cos((step / timesteps + 0.008) / 1.008 * np.pi / 2) ** 2)

    assert len(kept) == timesteps
    for step in (0, 5, 50, 98):
        assert float(kept[step]) == pytest.approx(f(step + 1) / f(0), rel=1e-9)


@pytest.mark.parametrize("multipliers", [(1,), (1, 2), (2, 1, 1), (1, 1, 2, 2, 4)])
def test_files_say_their_multipliers_and_their_schedule(multipliers: tuple[int, ...], tmp_path: Path) -> None:
    made = Diffusion(8, multipliers, 300, "linear", "noise").eval()
    save_network(made, tmp_path / "d.safetensors", {"objective": "noise"})
    loaded = load_diffusion(tmp_path / "d.safetensors")
    assert loaded.objective == "noise"
    torch.testing.assert_close(loaded.get_buffer("betas"), schedule_buffers("linear", 300)["betas"].float())
    images, steps = golden_noise("images", SHAPE), torch.tensor([3, 4])
    with torch.no_grad():
        assert torch.equal(loaded.predict(images, steps), made.predict(images, steps))
    torch.save({"model": made.state_dict()}, tmp_path / "published.pt")
    assert load_diffusion(tmp_path / "published.pt").objective == "x0"


def test_wrong_files(tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    save_network(Diffusion(8, (1,)), path, {"objective": "score"})
    with pytest.raises(ModelError, match="its network predicts 'score', wanted x0, noise, v"):
        load_diffusion(path)
    save_network(Diffusion(8, (1,), 99), path)
    with pytest.raises(ModelError, match="has 99 timesteps, wanted 100 to 10000"):
        load_diffusion(path)
    save_network(Diffusion(8, (1,) * 6), path)
    with pytest.raises(ModelError, match="UNet of 6 levels, wanted 5 or fewer for 112 x 112"):
        load_diffusion(path)
    state = Diffusion(8, (1, 2)).state_dict()
    torch.save({"model": state | {"model.downs.1.3.weight": torch.zeros(20, 8, 3, 3)}}, tmp_path / "odd.pt")
    with pytest.raises(ModelError, match=r"downs.1.3.weight' has shape \(20, 8, 3, 3\), wanted \(16, 8, 3, 3\)"):
        load_diffusion(tmp_path / "odd.pt")
    small = {"model.init_conv.weight": torch.zeros(800, 3, 7, 7), "betas": torch.zeros(1000)}
    torch.save({"model": small}, tmp_path / "small.pt")
    with pytest.raises(ModelError, match="118,600 values, too few for a diffusion model of width 800"):
        load_diffusion(tmp_path / "small.pt")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"multipliers": []}, r"multipliers is \[\], wanted 1 to 5 whole numbers of 1 or more"),
        ({"multipliers": [1, 0]}, r"multipliers is \[1, 0\], wanted 1 to 5 whole numbers"),
        ({"multipliers": [1] * 6}, r"multipliers is \[1, 1, 1, 1, 1, 1\], .* halved between two levels, at most to 7"),
        ({"multipliers": [1, 1.5]}, r"multipliers is 1.5 \(a number\); wanted a whole number"),
        ({"multipliers": 4}, r"multipliers is 4 \(a whole number\); wanted a list"),
        ({"timesteps": 99}, "timesteps is 99, wanted 100 to 10000: the model is trained on the first 100 steps"),
        ({"timesteps": 10_001}, "timesteps is 10001, wanted 100 to 10000"),
        ({"schedule": "sigmoid"}, "schedule is 'sigmoid', wanted cosine or linear"),
        ({"objective": "score"}, "objective is 'score', wanted x0, noise or v"),
        ({"loss": "huber"}, "loss is 'huber', wanted l2 or l1"),
    ],
)
def test_bad_settings(section: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        diffusion_settings({"diffusion": section})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A recipe with other settings, faces, and the folder of its run."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "faces").mkdir()
    for index in range(3):
        noise = np.random.default_rng(index).integers(0, 256, (14, 14, 3), dtype=np.uint8)
        face = cv2.resize(noise, (112, 112), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / "faces" / f"{index}.png"), face)
    tiny = {name: getattr(SETTINGS, name) for name in ("width", "batch_size", "workers", "ema_every", "save_every")}
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps({"diffusion": {**tiny, **OTHERS, "steps": 4, "accumulate": 1}}))
    fit_diffiqa(diffusion_settings(read_recipe(str(recipe))), folder / "faces", folder / "run")
    return recipe, folder / "faces", folder / "run"


class PowerCutError(Exception):
    """Ends a run at any place."""


def test_an_interrupted_run_ends_with_the_same_weights(
    trained: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, faces, run = trained
    settings, degrade, calls = diffusion_settings(read_recipe(str(recipe))), module.degrade_face, iter(range(2))

    def degrade_twice(*arguments: object) -> object:
        if next(calls, None) is None:
            raise PowerCutError
        return degrade(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(module, "degrade_face", degrade_twice)
        with pytest.raises(PowerCutError):
            fit_diffiqa(settings, faces, tmp_path)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] in (1, 2)
    fit_diffiqa(settings, faces, tmp_path)
    for name in ("diffusion.safetensors", "losses.json"):
        assert (tmp_path / name).read_bytes() == (run / name).read_bytes()


def test_the_network_learns_by_its_settings(trained: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """The first loss is another for each; the schedule and the number of timesteps change the noise of all steps."""
    recipe, faces, run = trained
    settings = dataclasses.replace(diffusion_settings(read_recipe(str(recipe))), steps=1, accumulate=1)
    first = json.loads((run / "losses.json").read_text())[0]
    published = dataclasses.asdict(SETTINGS)
    for name in CHOSEN_LATER:
        changed = dataclasses.replace(settings, **{name: published[name]})
        fit_diffiqa(changed, faces, tmp_path / name)
        assert json.loads((tmp_path / name / "losses.json").read_text())[0] != pytest.approx(first, rel=1e-4)


@pytest.mark.parametrize("name", CHOSEN_LATER)
def test_other_settings_do_not_resume(trained: tuple[Path, Path, Path], name: str) -> None:
    recipe, faces, run = trained
    settings = diffusion_settings(read_recipe(str(recipe)))
    changed = dataclasses.replace(settings, **{name: getattr(SETTINGS, name)})
    with pytest.raises(InputError, match=rf"state.pt is of a run with {name}.*, this one has {name}.*; give another"):
        fit_diffiqa(changed, faces, run)


def test_runs_of_earlier_versions_go_on_with_the_published_settings(
    trained: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    _, faces, _ = trained
    settings = dataclasses.replace(SETTINGS, steps=1, accumulate=1)
    fit_diffiqa(settings, faces, tmp_path)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    kept = {name: value for name, value in state["settings"].items() if name not in CHOSEN_LATER}
    torch.save({**state, "settings": kept}, tmp_path / "state.pt")
    assert load_diffusion(tmp_path / "state.pt").objective == "x0"
    with pytest.raises(InputError, match="a run with objective='x0', this one has objective='noise'"):
        fit_diffiqa(dataclasses.replace(settings, objective="noise"), faces, tmp_path)
    fit_diffiqa(dataclasses.replace(settings, steps=2), faces, tmp_path)
    assert len(json.loads((tmp_path / "losses.json").read_text())) == 2


def test_labels_need_the_file_alone(trained: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Not what it was trained with; without its objective the same weights give other labels."""
    _, faces, run = trained
    for name in ("diffusion.safetensors", "state.pt"):
        loaded = load_diffusion(run / name)
        assert loaded.objective == "v"
        wanted = schedule_buffers("linear", 200)["alphas_cumprod"].float()
        torch.testing.assert_close(loaded.get_buffer("alphas_cumprod"), wanted)
    bare = Diffusion(8, (1, 2), 200, "linear")
    bare.load_state_dict(read_state(run / "diffusion.safetensors"))
    save_network(bare, tmp_path / "bare.safetensors")
    save_network(tame_network("mobilefacenet128"), tmp_path / "fr.safetensors")

    def label(diffusion: Path) -> tuple[int, str, list[float]]:
        out = tmp_path / f"{diffusion.stem}.csv"
        command = ["label", "diffiqa", str(faces), "--out", str(out), "-n", "1", "-t", "2"]
        command += ["--weights", str(tmp_path / "fr.safetensors"), "--diffusion", str(diffusion)]
        result = CliRunner().invoke(app, command)
        return result.exit_code, result.output, read_table(out)["diffiqa"].to_pylist() if out.exists() else []

    code, output, labels = label(run / "diffusion.safetensors")
    assert code == 0, output
    assert len(set(labels)) == 3
    assert max(np.abs(np.subtract(labels, label(tmp_path / "bare.safetensors")[2]))) > 1e-3
    code, output, labels = label(tmp_path / "fr.safetensors")
    assert code == 1
    assert labels == []
    assert "holds no model.init_conv.weight" in output
