"""Recipes of others: what is none is refused, soon and shortly."""

from pathlib import Path

import pytest

import train.recipes
from sdk.errors import InputError
from train.data.prepare import PrepareSettings
from train.detector.fit import SceneSettings
from train.fitting.regressor import RegressorRecipe
from train.fitting.settings import FitSettings
from train.methods.faceqan import FaceQANSettings
from train.methods.fit_diffiqa import diffusion_settings
from train.pipeline.calibrate import CalibrateSettings
from train.reasons.dataset import DamageSettings
from train.recipes import read_recipe, settings_from
from train.regressors import REGRESSORS

CONFIGS = Path(train.recipes.__file__).parent / "configs"

LEVELS = "\n".join(f"    k{n}: &k{n} {{{', '.join(f'x{i}: *k{n - 1}' for i in range(9))}}}" for n in range(1, 9))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\xff", "not UTF-8"),
        (b"", "is nothing, wanted a mapping of sections"),
        (b"- network\n", "is a list"),
        (b"network: [a]\n", "network is \\['a'\\] .a list.; wanted a name"),
        (b"training: 5\n", "training is 5 .a whole number.; wanted a mapping"),
        (b"card: " + b"{a: " * 3000, "more than 20 deep"),
        (b"card: {a: " + b"[" * 30 + b"]" * 30 + b"}\n", "more than 20 deep"),
        (b"card:\n    k0: &k0 {a: b}\n" + LEVELS.encode() + b"\n", "more than 10,000 values"),
        (b"card: &c {a: *c}\n", "names what holds it"),
        (b"card: {a: *nobody}\n", "names what holds it, or nothing"),
        (b"training: {epochs: 1}\ntraining: {epochs: 2}\n", "the key 'training' stands twice in line 2"),
        (b"training: {lr: 1, lr: 2}\n", "the key 'lr' stands twice"),
        (b"training: {clip: .nan}\n", "clip is nan, wanted a finite number"),
        (b"training: {clip: 1.0e+999}\n", "clip is inf"),
        (b"training: {seed: " + b"9" * 60 + b"}\n", "bits, wanted at most 63"),
        (b"card: {day: 2024-01-01}\n", "day is datetime.date"),
        (b"card: {a: !!binary aGk=}\n", "a is b'hi'"),
        (b"card: {1: x}\n", "has the key 1, wanted text"),
        (b"card: !!python/object/apply:os.system [ls]\n", "is not YAML: could not determine a constructor"),
        (b"card: {}\n---\ncard: {}\n", "is not YAML"),
        (b"card: {a: \x00}\n", "is not YAML"),
        (b"? [a]\n: b\n", "recipe"),
        (b"#" + b"x" * (2 << 20), "wanted at most 1,048,576"),
        (b"nothing: {}\n", "section 'nothing'"),
    ],
)
def test_what_is_no_recipe(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(InputError, match=message) as raised:
        read_recipe(str(tmp_path / "r.yaml"))
    assert len(str(raised.value)) < 1000


def test_anchors_within_bounds_are_read(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("warm_up: &w {seed: 3}\ntraining: {<<: *w, epochs: 2}\n")
    assert read_recipe(str(tmp_path / "r.yaml"))["training"] == {"seed": 3, "epochs": 2}


@pytest.mark.parametrize(
    ("kind", "section", "message"),
    [
        (FitSettings, {"groups": [5]}, "Group is 5 .a whole number.; wanted a mapping"),
        (FitSettings, {"groups": [{"lr": "x"}]}, "Group.lr is 'x' .text.; wanted a number"),
        (FitSettings, {"epochs": 0}, "epochs is 0, wanted 1 or more"),
        (FitSettings, {"batch_size": -4}, "batch_size is -4"),
        (FitSettings, {"clip": "y" * 10_000}, "FitSettings.clip is 'yyy"),
        (FaceQANSettings, {"clip": [0, "1"]}, "FaceQANSettings.clip is '1'"),
        (FaceQANSettings, {"clip": [0, 1, 2]}, "wanted two numbers"),
        (PrepareSettings, {"copies": True}, "copies is True .true or false.; wanted a whole number"),
        (PrepareSettings, ["copies"], "wanted a mapping of settings"),
    ],
)
def test_wrong_values_at_any_depth(kind: type, section: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        settings_from(kind, section)  # type: ignore[arg-type]
    assert len(str(raised.value)) < 500


def test_a_setting_that_may_be_left_to_the_trainer() -> None:
    assert settings_from(FitSettings, {"workers": 3}).workers == 3
    assert settings_from(FitSettings, {"workers": None}).workers is None
    with pytest.raises(InputError, match=r"workers is 'two' \(text\); wanted a whole number"):
        settings_from(FitSettings, {"workers": "two"})


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_that_come_along_are_read_whole(path: Path) -> None:
    """Each section becomes its settings, as in the command that takes the recipe."""
    recipe = read_recipe(path.stem)
    kinds = {"scenes": SceneSettings, "damage": DamageSettings, "training": FitSettings, "calibrate": CalibrateSettings}
    read = [settings_from(kind, recipe[name]) for name, kind in kinds.items() if name in recipe]
    if "diffusion" in recipe:
        read.append(diffusion_settings(recipe))
    if any(name in recipe for name in REGRESSORS):
        read.append(RegressorRecipe.from_recipe(recipe))
    assert read
