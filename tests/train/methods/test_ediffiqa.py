"""eDifFIQA's preparation and loss against the recording."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from sdk.errors import InputError
from train.fitting.regressor import RegressorRecipe
from train.fitting.settings import Group
from train.methods.ediffiqa import EDifFIQA, losses, prepare
from train.recipes import read_recipe

GOLDEN = np.load(Path(__file__).parents[2] / "data" / "golden" / "ediffiqa.npz")


def uniform(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    values = np.random.default_rng(zlib.crc32(name.encode())).uniform(-1, 1, shape)
    return torch.from_numpy(values.astype(np.float32))


def test_golden_preparation() -> None:
    names = GOLDEN["names"]
    identities = [name.split("/")[0] for name in names]
    prepared = prepare(GOLDEN["quality"], GOLDEN["embeddings"].astype(np.float32), identities, beta=0.6)
    assert names[prepared.rows].tolist() == GOLDEN["item_names"].tolist()
    assert prepared.classes.tolist() == GOLDEN["item_class"].tolist()
    np.testing.assert_allclose(prepared.centres, GOLDEN["centres"], atol=1e-5)


def test_golden_loss() -> None:
    prediction, label = (uniform("pred", (8,)) + 1) / 2, (uniform("label", (8,)) + 1) / 2
    teacher, centre = uniform("teacher", (8, 512)), uniform("centres", (8, 512))
    terms = losses(uniform("feat", (8, 512)), prediction, label, teacher, centre)
    np.testing.assert_allclose(terms.distance, GOLDEN["loss_distance"], atol=1e-5)
    for name in ("quality", "consistency", "total"):
        np.testing.assert_allclose(getattr(terms, name), GOLDEN[f"loss_{name}"], atol=1e-5)


def test_a_last_batch_of_one_image_stays_a_batch() -> None:
    one = torch.ones(1, 4)
    terms = losses(one, torch.tensor([[0.25]]), torch.tensor([0.75]), one, one)
    assert terms.distance.shape == (1,)
    assert float(terms.quality) == pytest.approx(0.5)
    assert float(terms.total) == pytest.approx(0.25)


def test_the_distance_has_no_gradient_and_epsilon_turns_it_off() -> None:
    features = torch.randn(3, 4, requires_grad=True)
    centre, label = torch.randn(3, 4), torch.full((3,), 0.9)
    with_distance = losses(features, torch.zeros(3), label, features.detach(), centre)
    assert not with_distance.distance.requires_grad
    assert float(losses(features, label, label, features, centre, epsilon=0.0).quality) == 0.0


def test_only_eligible_images_make_centres() -> None:
    embeddings = np.array([[1.0, 0], [3, 0], [0, 9]], np.float32)
    prepared = prepare(np.array([0.5, 0.6, 0.9]), embeddings, ["a"] * 3, 1.0, 1, np.array([True, True, False]))
    np.testing.assert_allclose(prepared.centres, [[2.0, 0]])
    assert prepared.rows.tolist() == [0, 1, 2]


def test_bad_input() -> None:
    embeddings = np.ones((3, 2), np.float32)
    with pytest.raises(InputError, match="no identity has 10 images"):
        prepare(np.array([0.1, 0.2, 0.3]), embeddings, list("abc"))
    with pytest.raises(InputError, match="1 labels and 0 embeddings are NaN"):
        prepare(np.array([0.1, np.nan, 0.3]), embeddings, list("abc"))


@pytest.mark.parametrize("size", "tsml")
def test_recipes_have_the_values_of_the_paper(size: str) -> None:
    recipe = RegressorRecipe.from_recipe(read_recipe(f"ediffiqa-{size}"))
    method, training = recipe.method, recipe.training
    assert isinstance(method, EDifFIQA)
    assert recipe.network == f"ediffiqa-{size}"
    assert (method.beta, method.min_images, method.epsilon, method.theta, method.validation) == (0.2, 10, 0.5, 0.5, 0.1)
    assert (training.epochs, training.batch_size, training.clip) == (3, 128, 5.0)
    assert training.groups == (Group(1e-3), Group(1e-4, 100))
    assert training.optimiser == "adam"
    assert (training.schedule, training.precision, training.ema) == ("constant", "fp16", 0.0)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({}, "no 'network'"),
        (
            {"network": "ediffiqa-t"},
            "sections of none, wanted one of: ediffiqa, regression, blend, aikd, or module:class",
        ),
        ({"network": "ediffiqa-t", "ediffiqa": {}, "aikd": {}}, "sections of ediffiqa and aikd"),
        ({"network": "ediffiqa-t", "ediffiqa": {}, "training": {"epoch": 3}}, "no setting 'epoch'"),
        (
            {"network": "ediffiqa-t", "ediffiqa": {}, "training": {"epochs": "three"}},
            "'three' .text.; wanted a whole number",
        ),
        ({"network": "ediffiqa-t", "ediffiqa": {}, "training": {"schedule": "step"}}, "schedule is 'step'"),
        ({"network": "ediffiqa-t", "ediffiqa": {}, "training": {"groups": [{"rate": 1}]}}, "no setting 'rate'"),
        (
            {"network": "ediffiqa-t", "ediffiqa": {}, "training": {"groups": [1e-3]}},
            "Group is 0.001 .a number.; wanted a mapping",
        ),
        ({"network": "ediffiqa-t", "ediffiqa": {}, "targets": {"centre": "add"}}, "centre is 'add'"),
    ],
)
def test_bad_recipes(recipe: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RegressorRecipe.from_recipe(recipe)


def test_unknown_recipe_lists_the_known() -> None:
    with pytest.raises(InputError, match="fiqa-nano"):
        read_recipe("nothing")
