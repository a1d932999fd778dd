"""Description of a format for the export. The table of formats is `sdk.models.formats.FORMATS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.settings import ExportSettings
from sdk.models.card import ModelCard
from sdk.models.formats import FORMATS, resolve
from sdk.models.loading import write_card_beside

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from export.graph.ends import Ends
    from export.targets import Target

Facts = dict[str, str]
"""Rows of `fiqa-export inspect`: name -> text."""


@dataclass(frozen=True, slots=True)
class Order:
    """Order to write a file.

    Attributes:
        folder: Where the file goes.
        model: The network in fp32, as ONNX.
        ends: Input and output of the file.
        card: Card of the file; its format is `onnx`.
        settings: Settings of the export.
        target: Device that the file is for; None for any.
        calibration: For int8, faces to measure ranges on: uint8 BGR (N, 112, 112, 3).
        calibration_origin: Where these faces come from.
        base: The file that this one is built from; None if the format is built from none.
    """

    folder: Path
    model: "onnx.ModelProto"
    ends: "Ends"
    card: ModelCard
    settings: ExportSettings
    target: "Target | None" = None
    calibration: "NDArray[np.uint8] | None" = None
    calibration_origin: str = ""
    base: Path | None = None

    def path(self, format_name: str) -> Path:
        """Return where a file of a format goes: `<model>[-<precision>][-<format>]<suffix>`."""
        return self.folder / file_name(self.card.name, self.card.precision, format_name)


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written and is not proven yet.

    Attributes:
        path: The file.
        card: Its card.
        ranges: For int8, how the ranges of activations were measured.
    """

    path: Path
    card: ModelCard
    ranges: Mapping[str, Any] = field(default_factory=dict)


def _write_card_beside(order: Order, path: Path, card: ModelCard) -> None:
    write_card_beside(path, card)


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """Export of a format: it is written, inspected and proven.

    Attributes:
        write: Writes a file.
        inspect: Returns what is in a file. It must run nothing in it.
        runs: Runtimes of such files, in words.
        proven_in: Runtimes that a file is proven in, of `export.proof.runtimes.RUNTIMES`.
        proven_in_fp32: Further runtimes for files in fp32.
        built_from: Format of the file that it is built from, which is written and proven first; empty for none.
        options: Options of the command that it takes, besides those that all formats take.
        write_card: Writes the final card of a file.
    """

    write: Callable[[Order], Written]
    inspect: Callable[[Path], Facts]
    runs: str
    proven_in: tuple[str, ...] = ("fiqa",)
    proven_in_fp32: tuple[str, ...] = ()
    built_from: str = ""
    options: tuple[str, ...] = ("calibration", "target")
    write_card: Callable[[Order, Path, ModelCard], None] = _write_card_beside

    def runtimes(self, precision: str) -> tuple[str, ...]:
        """Return the runtimes that a file in a precision is proven in."""
        return (*self.proven_in, *(self.proven_in_fp32 if precision == "fp32" else ()))


def export_format(name: str) -> ExportFormat:
    """Return the export of a format.

    Args:
        name: One of `sdk.models.formats.FORMATS`.
    """
    found: ExportFormat = resolve(FORMATS[name].export)
    return found


def file_name(model: str, precision: str, format_name: str) -> str:
    """Return the name of a file: `<model>[-<precision>][-<format>]<suffix>`."""
    parts = (model, "" if precision == "fp32" else precision, "" if format_name == "onnx" else format_name)
    return "-".join(filter(None, parts)) + FORMATS[format_name].suffix
