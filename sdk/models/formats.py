"""The formats and precisions of model files, and what runs them: a new one is a new entry here."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What a precision may differ from its source; None for any.

    Attributes:
        largest: Largest absolute difference of a score.
        shift: Absolute difference of the mean scores.
        spearman: Least rank correlation.
    """

    largest: float | None = None
    shift: float | None = None
    spearman: float | None = None


@dataclass(frozen=True, slots=True)
class Precision:
    """What a network computes in.

    Attributes:
        products: Types that its convolutions and matrix products may have; the first is that of most of them.
        tolerance: What its scores may differ from those in fp32.
        in_files: Whether files have it; else a runtime computes in it when it is asked to.
    """

    products: tuple[str, ...]
    tolerance: Tolerance
    in_files: bool = True

    @property
    def eight_bits(self) -> bool:
        """Whether it is quantised, so that ranges of activations have to be measured."""
        return "int8" in self.products

    @property
    def half(self) -> bool:
        """Whether what is not quantised is float16."""
        return "fp16" in self.products


EIGHT_BITS = Tolerance(shift=0.01, spearman=0.99)
"""Of int8, and of bf16, whose mantissa has as many: alone or mixed."""

PRECISIONS: Mapping[str, Precision] = MappingProxyType(
    {
        "fp32": Precision(("fp32",), Tolerance(largest=1e-4)),
        "fp16": Precision(("fp16",), Tolerance(largest=5e-3)),
        "int8": Precision(("int8", "fp32"), EIGHT_BITS),
        "int8+fp16": Precision(("int8", "fp16"), EIGHT_BITS),
        "bf16": Precision(("bf16",), EIGHT_BITS, in_files=False),
        "int8+bf16": Precision(("int8", "bf16"), EIGHT_BITS, in_files=False),
    }
)
"""By name."""


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of model file.

    Attributes:
        title: What such a file is called in a sentence.
        suffix: Of the file, lower-case.
        beside: Suffixes of the files that belong to it, of the same name.
        precisions: Those that it may have.
        devices: Kinds of device that run it, see `sdk.runtimes.registry`.
        short: Its part in the name of an engine. An engine is bound to a version of its library and to a GPU, and is
            code. Empty for files that are no engines.
    """

    title: str
    suffix: str
    beside: tuple[str, ...]
    precisions: tuple[str, ...]
    devices: tuple[str, ...]
    short: str = ""


_FILES = tuple(name for name, precision in PRECISIONS.items() if precision.in_files)

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "onnx": Format(
            "an ONNX file", ".onnx", (), _FILES,
            ("auto", "cpu", "cuda", "tensorrt", "tensorrt-rtx", "openvino", "openvino-ep"),
        ),
        "tensorrt": Format("an engine", ".engine", (".json",), _FILES, ("auto", "cuda", "tensorrt"), "trt"),
        "tensorrt-rtx": Format("an engine", ".engine", (".json",), _FILES, ("auto", "cuda", "tensorrt-rtx"), "rtx"),
        "openvino": Format(
            "OpenVINO IR", ".xml", (".bin", ".json"), ("fp32", "fp16", "int8"), ("auto", "cpu", "openvino")
        ),
    }
)  # fmt: skip
"""By name. Of devices, `openvino` is OpenVINO itself, `openvino-ep` onnxruntime's provider of it."""

ENGINES = tuple(name for name, format_ in FORMATS.items() if format_.short)
"""Formats that are engines."""

SUFFIXES = tuple(dict.fromkeys(format_.suffix for format_ in FORMATS.values()))
"""Suffixes of model files: ONNX, TensorRT, OpenVINO IR."""
