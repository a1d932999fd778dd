"""Blend: an output a label, one output in the network that is kept."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sdk.errors import InputError
from tests.support.weights import tame_network
from train.data.labelled import read_labelled
from train.data.manifest import make_manifest, write_table
from train.fitting.fit_regressor import fit_regressor
from train.fitting.regressor import FitFiles, RegressorRecipe
from train.methods.blend import Blend, within_person
from train.networks import QualityNetwork, create_network, load_network, read_state, save_network
from train.recipes import Recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve crops, half of them damaged copies, with two labels; the last crop lacks one. And their teacher."""
    folder = tmp_path_factory.mktemp("blend")
    rng = np.random.default_rng(0)
    rows = []
    for index in range(12):
        noise = rng.integers(0, 256, (14, 14, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), cv2.resize(noise, (112, 112), interpolation=cv2.INTER_CUBIC))
        damage = "blur=0.5" if index % 2 else ""
        labels = {"centre": index / 11, "lightqnet": float(rng.random()) if index < 11 else None}
        rows.append({"path": f"{index}.png", "identity": str(index // 3), "degradation": damage, **labels})
    write_table(make_manifest(rows, folder).table, folder / "labels.parquet")
    save_network(tame_network("mobilefacenet128"), folder / "teacher.safetensors")
    return folder


def recipe(**blend: object) -> Recipe:
    return {
        "network": "fiqa-nano",
        "blend": blend,
        "warm_up": {"epochs": 3, "batch_size": 4},
        "training": {"epochs": 1, "batch_size": 4, "frozen_norm": True, "flip": 0.5},
    }


def test_each_output_learns_the_rank_of_its_label(data: Path) -> None:
    faces = read_labelled(data / "labels.parquet", "centre,lightqnet")
    assert len(faces.rows) == 11  # the face without a label is left out
    chosen = RegressorRecipe.from_recipe(recipe())
    ranks = chosen.method.targets(faces, chosen.targets)
    centre = np.arange(11)
    below = [
        np.mean(np.r_[(centre[kept] < value), (centre[kept] <= value)])
        for kept in (centre % 2 == 0, centre % 2 == 1)
        for value in centre
    ]
    assert ranks[:, 0] == pytest.approx(np.reshape(below, (2, 11)).mean(axis=0))
    assert ranks.shape == (11, 2)
    curved = RegressorRecipe.from_recipe(recipe(outputs=[{}, {"curve": 3}])).method
    assert curved.label == "centre"
    assert curved.targets(faces, chosen.targets)[:, 1] == pytest.approx(1 - (1 - ranks[:, 0]) ** 3)
    assert 0 <= ranks.min() < ranks.max() <= 1


def test_an_output_may_learn_what_differs_between_images_of_a_person(data: Path) -> None:
    values = np.array([1.0, 3.0, 0.0, 5.0, 8.0])
    persons, clean = np.array(["a", "a", "a", "b", "c"]), np.array([True, True, False, True, True])
    # Means of the clean images: 2, 5, 8, of all 4.25. Of the person's distance two thirds, half and half are taken off.
    away = [2 / 3 * (2 - 4.25)] * 3 + [0.5 * (5 - 4.25), 0.5 * (8 - 4.25)]
    assert within_person(values, persons, clean) == pytest.approx(values - away)

    chosen = RegressorRecipe.from_recipe(recipe(outputs=[{}, {"within_person": True}]))
    assert chosen.method.label == "centre"
    targets = chosen.method.targets(read_labelled(data / "labels.parquet", "centre"), chosen.targets)
    # Labels rise from person to person, so the mean target of a person does; less so within persons.
    rise = np.ptp(targets.reshape(4, 3, 2).mean(axis=1), axis=0)
    assert 0 < rise[1] < rise[0]


def test_the_loss_is_the_mean_over_outputs_and_names_each() -> None:
    loss = Blend().objective(read_none()).loss
    prediction, label = torch.tensor([[0.1, 0.5], [0.3, 0.9]]), torch.tensor([[0.2, 0.5], [0.6, 0.5]])
    terms = loss(torch.zeros(2, 4), prediction, {"label": label}, True)
    assert {name: pytest.approx(float(value)) for name, value in terms.items()} == {
        "total": 0.2, "centre": 0.2, "lightqnet": 0.2,
    }  # fmt: skip


def read_none() -> None:
    """No faces: the objective of blend needs none."""


def test_a_run_gives_a_network_of_one_output(data: Path, tmp_path: Path) -> None:
    made = RegressorRecipe.from_recipe(
        recipe(outputs=[{"label": "centre", "weight": 3}, {"label": "lightqnet"}], cuts=0.5)
    )
    merged = fit_regressor(made, FitFiles(data / "labels.parquet", data / "teacher.safetensors"), tmp_path)
    network = load_network("fiqa-nano", merged)
    several = create_network("fiqa-nano", 2)
    several.load_state_dict(read_state(tmp_path / "best.safetensors"))
    faces = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 3, 112, 112)).astype(np.float32))
    with torch.no_grad():
        outputs = several.eval()(faces)
        assert outputs.shape == (3, 2)
        torch.testing.assert_close(network(faces), outputs @ torch.tensor([[0.75], [0.25]]))


def test_as_many_weights_as_outputs_are_wanted(tiny_network: QualityNetwork) -> None:
    with pytest.raises(InputError, match="the network has 1 outputs and there are 2 weights"):
        tiny_network.merge_outputs((0.5, 0.5))


def test_the_head_takes_the_values_before_the_embedding() -> None:
    network = create_network("fiqa-nano").eval()
    assert isinstance(network, QualityNetwork)
    faces = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 112, 112)).astype(np.float32))
    with torch.no_grad():
        values = network.head_input(faces)
        features, quality = network.features_and_quality(faces)
        assert values.shape == (2, 512)
        torch.testing.assert_close(features, network.base_model(faces))
        torch.testing.assert_close(quality, network.mlp(values))
        torch.testing.assert_close(quality, network(faces))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"outputs": []}, "no output with a weight above 0"),
        ({"outputs": [{"weight": 0}]}, "no output with a weight above 0"),
        ({"outputs": [{"weight": -1}]}, "a weight of 0 or more"),
        ({"outputs": [{"curve": 0}]}, "a curve above 0"),
        ({"outputs": [{"label": "a,b"}]}, "the name of one column"),
        ({"label": "faceqan"}, "name labels there alone"),
        ({"cuts": 1.5}, r"blend\.cuts is 1\.5"),
        ({"moves": -1.0}, r"blend\.moves is -1\.0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        RegressorRecipe.from_recipe(recipe(**settings))


def test_targets_have_no_meaning_for_blend(data: Path) -> None:
    chosen = RegressorRecipe.from_recipe({**recipe(), "targets": {"scale": "rank"}})
    with pytest.raises(InputError, match="a recipe with blend has no targets"):
        chosen.method.targets(read_labelled(data / "labels.parquet", "centre,lightqnet"), chosen.targets)
