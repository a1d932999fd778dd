"""Settings of an export."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sdk.models.formats import PRECISIONS

INT8 = tuple(name for name, precision in PRECISIONS.items() if precision.int8 and precision.in_files)
"""Precisions for which the ranges of activations are measured."""

BATCHES = (1, 8, 32)
"""Default batches of an engine."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Options of a builder of engines.

    Attributes:
        batches: Fixed batches that it runs in.
        workspace_mib: Largest scratch memory of a layer on the GPU, in MiB; None for no limit.
        timing_cache: File in which TensorRT keeps how fast kernels were. The next build is then faster and takes the
            same kernels. It is made if it is missing.
    """

    batches: tuple[int, ...] = BATCHES
    workspace_mib: int | None = None
    timing_cache: Path | None = None


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """Settings of an export: the file to write, and its verification.

    Attributes:
        format: One of `sdk.models.formats.FORMATS`.
        precision: One of the format's precisions.
        target: Name of the device, see `export.targets`; None for any.
        calibration: For int8, folder of aligned crops to measure ranges on; None for the packaged face.
        batches: For engines, see `EngineOptions`; None for 1, 8 and 32.
        workspace_mib: For engines, see `EngineOptions`.
        timing_cache: For TensorRT, see `EngineOptions`.
        evaluate: Manifest, or folder with one sub-folder for each person, to measure the change of pAUC on.
        judge: Face-recognition embeddings for `evaluate`, see `train.evaluation.inputs.EmbeddingSource`.
        keep_going: Write a file that fails its proof, too, marked unproven.
        embedding: Give the network's embedding as a second output.
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
    embedding: bool = False

    @property
    def engine_options(self) -> EngineOptions:
        """Options of the builder of engines."""
        return EngineOptions(self.batches or BATCHES, self.workspace_mib, self.timing_cache)

    def given(self) -> Mapping[str, object]:
        """Return the given options that not every format takes, by their names on the command line."""
        values = {
            "calibration": self.calibration, "target": self.target, "batch": self.batches,
            "workspace": self.workspace_mib, "timing-cache": self.timing_cache, "embedding": self.embedding or None,
        }  # fmt: skip
        return {name: value for name, value in values.items() if value is not None}
