"""The formats and precisions of model files. A new format is one new entry in `FORMATS`; so is a new runtime.

What reads, runs and writes a format is named as text, `module:name`, and imported when it is used. So the SDK never
imports `export`, and a runtime's library is loaded only for its own files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Largest difference from the source that a precision may have; None for no limit.

    Attributes:
        largest: Largest absolute difference of a score.
        shift: Largest absolute difference of the mean scores.
        spearman: Smallest rank correlation.
    """

    largest: float | None = None
    shift: float | None = None
    spearman: float | None = None


@dataclass(frozen=True, slots=True)
class Precision:
    """A precision that a network computes in.

    Attributes:
        products: Types that its convolutions and matrix products may have; most of them have the first.
        tolerance: Largest difference from the scores in fp32.
        in_files: True if files are written in it. False if a runtime computes in it on request.
    """

    products: tuple[str, ...]
    tolerance: Tolerance
    in_files: bool = True

    @property
    def int8(self) -> bool:
        """Tell whether layers are quantised, so that the ranges of activations have to be measured."""
        return "int8" in self.products

    @property
    def float16(self) -> bool:
        """Tell whether layers that are not quantised compute in float16."""
        return "fp16" in self.products


_EIGHT_BITS = Tolerance(shift=0.01, spearman=0.99)
"""For int8, and for bf16, which has eight bits of mantissa."""

PRECISIONS: Mapping[str, Precision] = MappingProxyType(
    {
        "fp32": Precision(("fp32",), Tolerance(largest=1e-4)),
        "fp16": Precision(("fp16",), Tolerance(largest=5e-3)),
        "int8": Precision(("int8", "fp32"), _EIGHT_BITS),
        "int8+fp16": Precision(("int8", "fp16"), _EIGHT_BITS),
        "bf16": Precision(("bf16",), _EIGHT_BITS, in_files=False),
        "int8+bf16": Precision(("int8", "bf16"), _EIGHT_BITS, in_files=False),
    }
)
"""By name."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format of model files.

    Attributes:
        title: What such a file is called in a sentence.
        suffix: Suffix of the file, lower-case.
        beside: Suffixes of the files that belong to it and have the same name.
        precisions: Precisions that it may have.
        runtimes: The runtime for each kind of device that runs it, `auto` first: `module:function`, see
            `sdk.runtimes.registry.Opener`.
        export: The `export.formats.table.ExportFormat` that writes it: `module:name`.
        reader: Reads and checks a file: `module:function`, see `sdk.models.loading.Reader`.
        engine: Its part in the name of an engine. An engine is code that is bound to a version of its library and to a
            GPU. Empty for formats that are no engines.
    """

    title: str
    suffix: str
    beside: tuple[str, ...]
    precisions: tuple[str, ...]
    runtimes: Mapping[str, str]
    export: str
    reader: str = "sdk.models.loading:read_with_card"
    engine: str = ""

    @property
    def devices(self) -> tuple[str, ...]:
        """Kinds of device that run it, `auto` first."""
        return tuple(self.runtimes)


GPUS = ("cuda", "tensorrt", "tensorrt-rtx")
"""Kinds of device that are a GPU, and may have its number: `cuda:1`."""

_FILES = tuple(name for name, precision in PRECISIONS.items() if precision.in_files)
_ONNXRUNTIME = "sdk.runtimes.onnxruntime:open_onnxruntime"
_TENSORRT = "sdk.runtimes.tensorrt:open_tensorrt"
_OPENVINO = "sdk.runtimes.openvino:open_openvino"
_READ_ENGINE = "sdk.models.loading:read_engine"

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "onnx": Format(
            "an ONNX file", ".onnx", (), _FILES,
            {
                **dict.fromkeys(("auto", "cpu", "cuda", "tensorrt", "tensorrt-rtx"), _ONNXRUNTIME),
                "openvino": _OPENVINO,
                "openvino-ep": _ONNXRUNTIME,
            },
            "export.formats.onnx_file:ONNX", "sdk.models.loading:read_onnx",
        ),
        "tensorrt": Format(
            "an engine", ".engine", (".json",), _FILES, dict.fromkeys(("auto", "cuda", "tensorrt"), _TENSORRT),
            "export.formats.tensorrt:TENSORRT", _READ_ENGINE, "trt",
        ),
        "tensorrt-rtx": Format(
            "an engine", ".engine", (".json",), _FILES, dict.fromkeys(("auto", "cuda", "tensorrt-rtx"), _TENSORRT),
            "export.formats.tensorrt:TENSORRT_RTX", _READ_ENGINE, "rtx",
        ),
        "openvino": Format(
            "OpenVINO IR", ".xml", (".bin", ".json"), ("fp32", "fp16", "int8"),
            dict.fromkeys(("auto", "cpu", "openvino"), _OPENVINO),
            "export.formats.openvino:OPENVINO", "sdk.models.loading:read_openvino",
        ),
    }
)  # fmt: skip
"""All formats by name. The device `openvino` is OpenVINO itself, `openvino-ep` its provider in onnxruntime."""

ENGINES = tuple(name for name, format_ in FORMATS.items() if format_.engine)
"""Formats that are engines."""

SUFFIXES = tuple(dict.fromkeys(format_.suffix for format_ in FORMATS.values()))
"""Suffixes of model files: `.onnx`, `.engine`, `.xml`."""


def resolve(reference: str) -> Any:
    """Import what `module:name` names."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
