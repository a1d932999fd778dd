"""Which options go together."""

from collections.abc import Sequence

from export.formats.table import export_format
from export.networks import find_task
from export.settings import INT8, ExportSettings
from export.targets import Target, get_target, targets
from sdk.errors import InputError
from sdk.models.formats import FORMATS


def check_settings(settings: ExportSettings, network: str | None = None) -> Target | None:
    """Refuse options that do not go together; return the target.

    Args:
        settings: The options.
        network: Name of the network; None for any quality network.

    Raises:
        InputError: Options do not go together; the message names one that fits. Or no such network can be exported.
    """
    if network is not None and find_task(network).plain and settings != ExportSettings():
        raise InputError(f"{network} is exported as fp32 ONNX only; leave the other options out")
    _check_format(settings)
    _check_calibration(settings)
    if settings.embedding and settings.precision != "fp32":
        raise InputError(f"--embedding is for --precision fp32, not {settings.precision}; leave one of them out")
    if (settings.evaluate is None) != (settings.judge is None):
        raise InputError("--evaluate and --judge go together: images of people, and the embeddings that compare them")
    return None if settings.target is None else _check_target(settings, get_target(settings.target))


def _check_format(settings: ExportSettings) -> None:
    name, precision = settings.format, settings.precision
    if name not in FORMATS:
        raise InputError(f"unknown --format {name!r}, wanted one of: {', '.join(FORMATS)}")
    precisions = FORMATS[name].precisions
    if precision not in precisions:
        raise InputError(f"--format {name} has no --precision {precision}, wanted one of: {', '.join(precisions)}")
    for option in settings.given():
        if option not in export_format(name).options:
            takers = [other for other in FORMATS if option in export_format(other).options]
            raise InputError(f"--{option} is not for --format {name}; leave it out, or give --format {_or(takers)}")


def _check_calibration(settings: ExportSettings) -> None:
    if settings.calibration is not None and settings.precision not in INT8:
        fitting = [name for name in FORMATS[settings.format].precisions if name in INT8]
        instead = f", or give {_or(fitting)}" if fitting else ""
        raise InputError(f"--calibration is not for --precision {settings.precision}; leave it out{instead}")


def _check_target(settings: ExportSettings, target: Target) -> Target:
    if settings.format not in target.formats:
        fitting = [name for name, other in targets().items() if settings.format in other.formats]
        instead = f", or --target {_or(fitting)}" if fitting else ""
        raise InputError(
            f"--target {target.name} runs {', '.join(target.formats)}, not {settings.format}; "
            f"give --format {_or(target.formats)}{instead}"
        )
    if settings.precision not in target.precisions:
        raise InputError(
            f"--target {target.name} has no --precision {settings.precision}, "
            f"wanted one of: {', '.join(target.precisions)}" + (f". {target.notes}" if target.notes else "")
        )
    return target


def _or(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
