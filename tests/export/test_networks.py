"""The table of networks and tasks."""

import pytest

from export.networks import NETWORKS, TASKS, find_task
from export.tasks.base import find_steps
from export.tasks.detection import DetectionSteps
from export.tasks.quality import QualitySteps
from sdk import InputError
from sdk.models.catalog import catalog
from train.networks import VARIANTS


def test_every_quality_network_can_be_named() -> None:
    assert set(TASKS["quality"].networks) == {name for name, variant in VARIANTS.items() if variant.hidden is not None}


def test_a_network_has_the_task_of_its_card() -> None:
    for name in set(NETWORKS) & set(catalog()):
        assert find_task(name) is TASKS[catalog()[name].card.task]


def test_steps() -> None:
    assert isinstance(find_steps("ediffiqa-t"), QualitySteps)
    assert isinstance(find_steps("fiqa-detector"), DetectionSteps)
    with pytest.raises(InputError, match="unknown network 'iresnet50', wanted one of: fiqa-nano"):
        find_steps("iresnet50")
