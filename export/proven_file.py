"""Write a file of a format, and prove it against its source."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.engines.place import CannotBuildHereError
from export.formats.table import Order, Written, export_format
from export.proof.compare import failures_of
from export.tasks.base import Images, Outputs, TaskSteps
from sdk.errors import DeviceError, ModelError
from sdk.models.card import ModelCard
from sdk.proof.verify import Agreement

ADVICE = {
    "fp32": "report this with the weights, or export the checkpoint (.pth) instead",
    "fp16": "the network exceeds the range of float16: take --precision fp32",
    "int8": "give --calibration a folder of more and other faces, or take --precision fp16",
    "int8+fp16": "give --calibration a folder of more and other faces, or take --precision fp16",
}
"""Advice for a failed proof, by precision."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Images, and the source's outputs for them, with which every file of an export is compared.

    Attributes:
        steps: Steps of the network's task.
        images: Images to run.
        expected: The source's outputs for them.
    """

    steps: TaskSteps
    images: Images
    expected: Outputs

    @property
    def count(self) -> int:
        """Number of images."""
        return sum(len(part) for part in self.images)


@dataclass(frozen=True, slots=True)
class ProvenFile:
    """A file and how it compares with its source.

    Attributes:
        path: The file.
        card: Its card.
        ranges: For int8, how the ranges of activations were measured.
        agreements: Agreement with the source, by runtime and batch; empty if the file could not run here.
        failures: What exceeds the tolerance; only with `keep_going`.
        notes: What its user must know, in sentences.
    """

    path: Path
    card: ModelCard
    ranges: Mapping[str, Any] = field(default_factory=dict)
    agreements: Mapping[str, Agreement] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def make_file(order: Order, trial: Trial, format_name: str) -> ProvenFile:
    """Write a file of a format and prove it, after the file that it is built from.

    If it cannot be built on this machine, return the file that it is built from, with a note.

    Raises:
        FiqaError: The file cannot be written, or its proof failed and `keep_going` is not set.
    """
    kind = export_format(format_name)
    if not kind.built_from:
        return _prove(kind.write(order), order, trial)
    base = make_file(order, trial, kind.built_from)
    try:
        written = kind.write(dataclasses.replace(order, card=base.card, base=base.path))
    except CannotBuildHereError as error:
        return dataclasses.replace(base, notes=(f"no engine: {error}",))
    try:
        proven = _prove(written, order, trial)
    except DeviceError as error:
        proven = _leave_unproven(written, order, error)
    return dataclasses.replace(proven, ranges=base.ranges)


def _prove(written: Written, order: Order, trial: Trial) -> ProvenFile:
    """Compare a file's outputs with the source's, and write the result on its card.

    Raises:
        ModelError: They differ by more than the precision allows, and `keep_going` is not set.
        DeviceError: The file's runtime is not on this machine.
    """
    path, card = written.path, written.card
    agreements = trial.steps.compare(path, card, trial.images, trial.expected)
    failures = failures_of(agreements, card.precision)
    if failures and not order.settings.keep_going:
        raise ModelError(
            f"{path.name} differs from its source: {'; '.join(failures)}. Nothing was written: "
            f"{ADVICE[card.precision]}, or take --keep-going to write the file all the same, marked unproven"
        )
    card = dataclasses.replace(card, verification=trial.steps.figures(agreements), proven=not failures)
    export_format(card.format).write_card(order, path, card)
    return ProvenFile(path, card, written.ranges, agreements, failures)


def _leave_unproven(written: Written, order: Order, reason: DeviceError) -> ProvenFile:
    """Write the card of a file that cannot run on this machine. The figures on it were those of the ONNX file."""
    path, card = written.path, dataclasses.replace(written.card, proven=False, verification={})
    export_format(card.format).write_card(order, path, card)
    note = f"{path.name} is unproven ({reason}); on its device run: fiqa verify {path.name} --trust"
    return ProvenFile(path, card, written.ranges, notes=(note,))
