"""Learning rates and validations as functions of the step, and settings that are refused."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import SWALR

from sdk.errors import InputError
from train.fitting.settings import FitSettings, Group, learning_rate, validations_until

SETTINGS = FitSettings(epochs=3, schedule="one-cycle", ema=0.9)
SWA = FitSettings(optimiser="sgd", schedule="swa", ema=0.1)


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
