"""Networks by name against the recorded outputs, keys and shapes of the published implementations."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sdk.errors import InputError
from tests.support.weights import golden_image, tame_network
from train.networks import VARIANTS, QualityNetwork, create_network

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
VARIANT_NAMES = ["ediffiqa-t", "ediffiqa-s", "ediffiqa-m", "ediffiqa-l"]


def relative(found: torch.Tensor, wanted: NDArray[np.float32]) -> float:
    return float(np.abs(found.numpy() - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("name", VARIANT_NAMES)
def test_golden_outputs(name: str) -> None:
    golden = np.load(GOLDEN / "networks.npz")
    network = tame_network(name)
    assert isinstance(network, QualityNetwork)
    with torch.inference_mode():
        features, quality = network.features_and_quality(torch.from_numpy(golden_image("faces", (2, 3, 112, 112))))
    assert relative(features, golden[f"{name}/features"]) < 1e-4
    assert relative(quality, golden[f"{name}/quality"]) < 1e-4


@pytest.mark.parametrize("name", VARIANT_NAMES)
def test_keys_and_shapes_are_the_published_ones(name: str) -> None:
    wanted = json.loads((GOLDEN / "state_dict_shapes.json").read_text())[name]
    with torch.device("meta"):
        network = create_network(name)
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == wanted


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ediffiqa-t", 1_726_849),
        ("ediffiqa-s", 24_551_937),
        ("ediffiqa-m", 44_117_185),
        ("ediffiqa-l", 65_682_497),
    ],
)
def test_parameters(name: str, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in create_network(name).parameters()) == parameters


def test_mobilefacenet128() -> None:
    network = tame_network("mobilefacenet128")
    embedding = network(torch.from_numpy(golden_image("faces", (2, 3, 112, 112))))
    assert embedding.shape == (2, 128)
    assert sum(parameter.numel() for parameter in network.parameters()) == 999_936


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(InputError, match="ediffiqa-t") as raised:
        create_network("resnet")
    assert all(name in str(raised.value) for name in VARIANTS)
