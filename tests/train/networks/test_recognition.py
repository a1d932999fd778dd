"""Face-recognition models by name, a user's own, and devices."""

from pathlib import Path

import pytest
import torch
from torch import nn

from sdk.errors import InputError, ModelError
from train.networks.recognition import device_of, load_recognition_model

VALUE = "a value, and no function"


def own_network() -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(147, 8))


def not_a_network() -> int:
    return 3


def test_own_network() -> None:
    model = load_recognition_model(f"{__name__}:own_network", mean=(0.25, 0.25, 0.25), std=(0.5, 0.5, 0.5))
    faces = torch.rand((2, 3, 112, 112))
    torch.testing.assert_close(model(faces), model.network((faces - 0.25) / 0.5))
    assert model(faces).shape == (2, 8)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("mobilefacenet128", InputError, "needs its weights"),
        ("ediffiqa-t", InputError, "quality network"),
        ("nothing", InputError, "unknown network"),
        ("no_such_module:f", InputError, "there is no module 'no_such_module'"),
        (f"{__name__}:absent", InputError, "has no 'absent'"),
        (f"{__name__}:VALUE", InputError, "wanted a function"),
        (f"{__name__}:not_a_network", InputError, "gives a int"),
    ],
)
def test_bad_models(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_recognition_model(name)


def test_missing_checkpoints_and_devices(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no checkpoint"):
        load_recognition_model("mobilefacenet128", tmp_path / "absent.pth")
    with pytest.raises(InputError, match="is not there"):
        device_of("nonsense")
