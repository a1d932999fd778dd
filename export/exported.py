"""The result of an export: a folder with the model and the files that belong to it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from export.graph.ends import IR_VERSION, OPSET
from export.proof.package import NOTICE, as_json, notice, report
from export.proof.pauc_change import Change
from export.proven_file import ProvenFile, Trial
from sdk.files import write_file
from sdk.models.card import ModelCard
from sdk.models.formats import FORMATS, SUFFIXES
from sdk.proof.verify import PROOF_FILE, Agreement


@dataclass(frozen=True, slots=True)
class Exported:
    """Files that were written and what was measured on them.

    Attributes:
        path: The model: `.onnx`, `.xml` or `.engine`.
        report: The verification report.
        card: The model's card.
        sha256: SHA-256 of the model; of OpenVINO IR the one on its card.
        size: Bytes of the model with the files that belong to it, such as OpenVINO's `.bin`.
        faces: Number of images that it was verified on.
        files: All files of the folder that were written.
        agreements: Agreement with the source, by runtime and batch; empty if the model could not run here.
        failures: What exceeds the tolerance; only with `keep_going`.
        notes: What its user must know, in sentences.
        change: Change of pAUC, if it was asked for.
    """

    path: Path
    report: Path
    card: ModelCard
    sha256: str
    size: int
    faces: int
    files: tuple[Path, ...] = ()
    agreements: Mapping[str, Agreement] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    change: Change | None = None

    @property
    def differences(self) -> Mapping[str, float]:
        """Largest difference by runtime and batch, and the worst of the other figures."""
        return self.card.verification


def finish_folder(proven: ProvenFile, trial: Trial, origin: str, change: Change | None) -> Exported:
    """Write the files that belong to a model beside it: report, ranges, licence notice and proof.

    Args:
        proven: The model, alone in its folder.
        trial: What it was verified on.
        origin: Where the images come from.
        change: Change of pAUC, if it was measured.

    Returns:
        All files; they are in the model's folder.
    """
    path, card, folder = proven.path, proven.card, proven.path.parent
    models = _model_files(folder)
    written = folder / f"{path.stem}.report.json"
    more: dict[str, object] = {"failures": proven.failures, "notes": proven.notes}
    if card.format == "onnx":
        more |= {"opset": OPSET, "ir_version": IR_VERSION}
    more["pauc"] = dataclasses.asdict(change) if change is not None else None  # None: it was not measured
    images = {"count": trial.count, "origin": origin}
    write_file(written, report(models, card, images, proven.agreements, **more))
    if proven.ranges:
        write_file(folder / f"{path.stem}.calibration.json", as_json(proven.ranges))
    write_file(folder / NOTICE, notice(card))
    proof = trial.steps.proof(trial.images, trial.expected, card.source_sha256)
    if proof is not None:
        write_file(folder / PROOF_FILE, proof)
    size = sum(models[name][0] for name in _parts(path, card) if name in models)
    files = tuple(sorted(file for file in folder.iterdir() if file.is_file()))
    return Exported(
        path, written, card, card.engine.sha256 or models[path.name][1], size, trial.count, files,
        proven.agreements, proven.failures, proven.notes, change,
    )  # fmt: skip


def in_folder(exported: Exported, folder: Path) -> Exported:
    """Return the result with the paths that its files have after they were moved to a folder."""
    return dataclasses.replace(
        exported,
        path=folder / exported.path.name,
        report=folder / exported.report.name,
        files=tuple(folder / file.name for file in exported.files),
    )


def _model_files(folder: Path) -> dict[str, tuple[int, str]]:
    """Return bytes and SHA-256 of all model files in a folder, by name."""
    beside = {suffix for format_ in FORMATS.values() for suffix in format_.beside} - {".json"}
    return {
        file.name: (file.stat().st_size, sha256(file.read_bytes()).hexdigest())
        for file in sorted(folder.iterdir())
        if file.suffix in {*SUFFIXES, *beside}
    }


def _parts(path: Path, card: ModelCard) -> list[str]:
    """Return the names of a model's files."""
    return [path.name, *(path.with_suffix(suffix).name for suffix in FORMATS[card.format].beside)]
