"""Options that several commands of `fiqa` take."""

import math
from collections.abc import Callable
from glob import escape, glob
from pathlib import Path
from typing import Annotated, Any

import typer

from sdk import __version__
from sdk.errors import InputError
from sdk.models.catalog import catalog
from sdk.models.formats import SUFFIXES


def complete_model(incomplete: str) -> list[str]:
    """Complete the name of a model, or the path of a model file, for the shell."""
    names = [name for name in catalog() if name.startswith(incomplete)]
    paths = [Path(name) for name in glob(f"{escape(incomplete)}*")]
    return names + [f"{path}/" if path.is_dir() else str(path) for path in paths if _may_be_model(path)]


def complete_name(incomplete: str) -> list[str]:
    """Complete the name of a model of the catalogue for the shell."""
    return [name for name in catalog() if name.startswith(incomplete)]


def complete_detector(incomplete: str) -> list[str]:
    """Complete the name of a face detector for the shell."""
    return [name for name in complete_name(incomplete) if catalog()[name].card.task == "detection"]


def _may_be_model(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() in SUFFIXES


ModelOption = Annotated[
    str,
    typer.Option(
        help="Name from `fiqa models list`, or path of an .onnx, .xml or .engine file.", autocompletion=complete_model
    ),
]
DetectorOption = Annotated[
    str | None,
    typer.Option(
        help="Face detector. fiqa-detector is in the package; yunet finds more faces and is fetched once.",
        show_default="fiqa-detector",
        autocompletion=complete_detector,
    ),
]
DeviceOption = Annotated[
    str, typer.Option(help="Device: auto, cpu, cuda, cuda:1, tensorrt, tensorrt-rtx, openvino or openvino-ep.")
]
ThreadsOption = Annotated[int | None, typer.Option(help="Number of CPU cores to use.", show_default="all")]
PrecisionOption = Annotated[
    str | None,
    typer.Option(help="bf16, on a device and a CPU that can compute in it.", show_default="that of the file"),
]
TrustOption = Annotated[
    bool, typer.Option("--trust", help="Load an engine file from another machine. Such a file is code.")
]
CalibrationOption = Annotated[
    Path | None,
    typer.Option(help="What scores mean, as fiqa calibrate wrote it, instead of what the model brings along."),
]
ThresholdOption = Annotated[float | None, typer.Option(help="Accept faces from this score on.")]
AcceptOption = Annotated[
    str | None, typer.Option(help="Accept faces from an operating point of the calibration on: enrol or identify.")
]
ReasonsOption = Annotated[bool, typer.Option("--reasons", help="Say what is wrong with each face; docs/reasons.md.")]
ReasonsFileOption = Annotated[
    Path | None, typer.Option(help="Texts of the reasons, such as a translation; implies --reasons.")
]
FacesOption = Annotated[
    Path | None, typer.Option(help="Folder of aligned 112 x 112 face crops, of good and of bad quality.")
]


class RGB(tuple[float, float, float]):
    """A number for each of R, G and B."""


def rgb_numbers(text: str) -> RGB:
    """Read an option: one number for all channels, or three with commas between.

    Raises:
        typer.BadParameter: It is something else.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 3) or not all(map(math.isfinite, values)):
        raise typer.BadParameter(f"{text!r}, wanted one number, or three with commas, such as 0.5,0.4,0.4")
    return RGB((values[0], values[len(values) // 2], values[-1]))


def rgb_deviations(text: str) -> RGB:
    """Read an option like `rgb_numbers`, of numbers above 0.

    Raises:
        typer.BadParameter: It is something else.
    """
    values = rgb_numbers(text)
    if min(values) <= 0:
        raise typer.BadParameter(f"{text!r}, wanted a deviation above 0, such as 0.5")
    return values


def rgb_option(what: str, parser: Callable[[str], RGB], default: str | bool = True) -> Any:
    """Return an option that `parser` reads, `rgb_numbers` or `rgb_deviations`; its help shows `default`."""
    return typer.Option(help=f"{what}: one number, or R,G,B.", parser=parser, metavar="R,G,B", show_default=default)


def accepted_from(threshold: float | None, accept: str | None) -> float | str | None:
    """Return what --threshold and --accept say, for `QualityScorer`.

    Raises:
        InputError: Both are given.
    """
    if threshold is not None and accept is not None:
        raise InputError("--threshold and --accept both say what is accepted; give one of them")
    return threshold if accept is None else accept


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fiqa {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
]
