"""The networks that can be exported, by task: data. A new network is a name in this table.

A task has its own way to read weights, and to compare a file with them. The rest of an export is the same for all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sdk.errors import InputError


@dataclass(frozen=True, slots=True)
class Task:
    """A task, as it stands on a model's card, and the networks that do it.

    Attributes:
        networks: Names of the networks, as `--model` takes them.
        steps: The `export.tasks.base.TaskSteps` that differ from other tasks: `module:name`.
        plain: True if only ONNX in fp32 is proven to work, without options.
    """

    networks: tuple[str, ...]
    steps: str
    plain: bool = False


_BACKBONES = ("mobilefacenet128", "mobilefacenet", "iresnet18", "iresnet50", "iresnet100")

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "quality": Task(
            (
                "fiqa-nano",
                *(f"ediffiqa-{size}" for size in "tsml"),
                *(f"{backbone}-linear" for backbone in _BACKBONES),
            ),
            "export.tasks.quality:QualitySteps",
        ),
        "detection": Task(("fiqa-detector",), "export.tasks.detection:DetectionSteps", plain=True),
        "reasons": Task(("fiqa-reasons",), "export.tasks.reasons:ReasonsSteps", plain=True),
    }
)
"""All tasks by the name on the card."""

NETWORKS = tuple(name for task in TASKS.values() for name in task.networks)
"""Names of all networks."""


def find_task(network: str) -> Task:
    """Return the task of a network.

    Raises:
        InputError: No network of that name can be exported.
    """
    for task in TASKS.values():
        if network in task.networks:
            return task
    raise InputError(f"unknown network {network!r}, wanted one of: {', '.join(NETWORKS)}")
