"""Parameter groups and frozen norms of quality networks."""

import dataclasses

from train.fitting.quality import FeaturesAndQuality, parameter_groups
from train.fitting.settings import FitSettings, Group
from train.networks import QualityNetwork

SETTINGS = FitSettings(groups=(Group(1e-3), Group(1e-4)))


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
    settings = FitSettings(groups=(Group(0.05, -1, 5e-4, 0.9), Group(0.05, 3, 0.0, 0.1)), optimiser="sgd")
    assert [group["momentum"] for group in parameter_groups(tiny_network, settings)] == [0.9, 0.1]


def test_frozen_norms_stay_in_evaluation(tiny_network: QualityNetwork) -> None:
    for frozen in (True, False):
        module = FeaturesAndQuality(tiny_network, frozen).train()
        assert (module.training, tiny_network.mlp.training) == (True, True)
        assert tiny_network.base_model.bn.training is not frozen  # type: ignore[union-attr]
        assert not module.eval().network.mlp.training
