"""What can be exported: formats, their precisions, and which options go with which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from export.targets import Target, get_target, targets
from sdk.errors import InputError
from sdk.models.formats import FORMATS, PRECISIONS

INT8 = tuple(name for name, precision in PRECISIONS.items() if precision.eight_bits and precision.in_files)


@dataclass(frozen=True, slots=True)
class Format:
    """How a format is exported, beside what `sdk.models.formats` says of it.

    Attributes:
        name: In `sdk.models.formats.FORMATS`.
        options: Options of the command that it takes, beside those that all take.
        runs: What runs it.
    """

    name: str
    options: tuple[str, ...]
    runs: str

    @property
    def precisions(self) -> tuple[str, ...]:
        """Those that it can have."""
        return FORMATS[self.name].precisions

    @property
    def files(self) -> str:
        """What is written, beside card, report, notice and proof."""
        own = FORMATS[self.name]
        beside = [suffix for suffix in own.beside if suffix != ".json"]
        return ", ".join([*([FORMATS["onnx"].suffix] if own.short else []), own.suffix, *beside])


KINDS: Mapping[str, Format] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Format("onnx", ("calibration", "target"), "onnxruntime; in fp32 OpenCV DNN, too"),
            Format(
                "tensorrt", ("calibration", "target", "batch", "workspace", "timing-cache"),
                "TensorRT 10 and 11, on the GPU that the engine was built on",
            ),
            Format(
                "tensorrt-rtx", ("calibration", "target", "batch", "workspace"),
                "TensorRT-RTX, on the target's GPUs",
            ),
            Format("openvino", ("calibration", "target"), "OpenVINO, on CPUs"),
        )
    }
)  # fmt: skip
"""By name, in the order of `export.targets.FORMATS`."""


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """What is exported, and how it is proven.

    Attributes:
        format: One of `KINDS`.
        precision: One of the format's.
        target: Name of a target; None for any.
        calibration: For int8, a folder of aligned crops that ranges are measured on; None for the packaged face.
        batches: For engines, the batches that they are to run in; None for 1, 8 and 32.
        workspace_mib: For engines, most scratch memory of a layer; None for all.
        timing_cache: For TensorRT, a file that keeps how fast kernels were.
        evaluate: Manifest (or folder) of people to measure the change of pAUC on.
        judge: Its face-recognition embeddings, see `train.evaluation.inputs.EmbeddingSource`.
        keep_going: Write a file whose proof failed all the same, marked unproven.
    """

    format: str = "onnx"
    precision: str = "fp32"
    target: str | None = None
    calibration: Path | None = None
    batches: tuple[int, ...] | None = None
    workspace_mib: int | None = None
    timing_cache: Path | None = None
    evaluate: Path | None = None
    judge: str | None = None
    keep_going: bool = False

    def given(self) -> Mapping[str, object]:
        """Options that not every format takes, and that were given, by their names on the command line."""
        values = {
            "calibration": self.calibration, "target": self.target, "batch": self.batches,
            "workspace": self.workspace_mib, "timing-cache": self.timing_cache,
        }  # fmt: skip
        return {name: value for name, value in values.items() if value is not None}


def check_settings(settings: ExportSettings) -> Target | None:
    """Refuse what does not go together; returns the target.

    Raises:
        InputError: Says what does not fit, and what would.
    """
    style, precision = settings.format, settings.precision
    if style not in KINDS:
        raise InputError(f"unknown --format {style!r}, wanted one of: {', '.join(KINDS)}")
    kind = KINDS[style]
    if precision not in kind.precisions:
        raise InputError(
            f"--format {style} has no --precision {precision}, wanted one of: {', '.join(kind.precisions)}"
        )
    for option in settings.given():
        if option not in kind.options:
            takers = [name for name, other in KINDS.items() if option in other.options]
            raise InputError(f"--{option} is not for --format {style}; leave it out, or give --format {_or(takers)}")
    if settings.calibration is not None and precision not in INT8:
        fitting = [name for name in kind.precisions if name in INT8]
        raise InputError(f"--calibration is not for --precision {precision}; leave it out, or give {_or(fitting)}")
    if (settings.evaluate is None) != (settings.judge is None):
        raise InputError("--evaluate and --judge go together: images of people, and the embeddings that compare them")
    if settings.target is None:
        return None
    target = get_target(settings.target)
    if style not in target.formats:
        fitting = [name for name, other in targets().items() if style in other.formats]
        raise InputError(
            f"--target {target.name} runs {', '.join(target.formats)}, not {style}; "
            f"give --format {_or(target.formats)}, or --target {_or(fitting)}"
        )
    if precision not in target.precisions:
        raise InputError(
            f"--target {target.name} has no --precision {precision}, wanted one of: {', '.join(target.precisions)}"
            + (f". {target.notes}" if target.notes else "")
        )
    return target


def _or(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
