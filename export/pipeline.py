"""The whole way: load, change the precision, change the format, prove, and write a folder."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from export.graph.float16 import to_half
from export.graph.front_end import IR_VERSION, OPSET
from export.graph.int8 import quantise
from export.metadata import make_card, with_card
from export.proof.compare import check_form, compare, failures_of, figures
from export.proof.crops import calibration_faces, verification_faces
from export.proof.package import NOTICE, as_json, check_folder, notice, proof_file, report
from export.proof.pauc_change import Change, change_of_pauc
from export.proof.runtimes import runtimes_for
from export.settings import INT8, ExportSettings, check_settings
from export.sources.checkpoint import Source, load_source
from export.targets import Target
from sdk.errors import DeviceError, ModelError
from sdk.files import check_outputs, make_folder, write_file
from sdk.files.folder_draft import folder_draft
from sdk.models.card import EngineFacts, ModelCard
from sdk.models.catalog import find_entry
from sdk.models.formats import ENGINES, PRECISIONS, SUFFIXES
from sdk.models.loading import openvino_digest, write_card_beside
from sdk.proof.bench import numbers
from sdk.proof.verify import PROOF_FILE, Agreement
from train.lock import locked

Faces = NDArray[np.uint8]

PACKAGED = "packaged"
DRAFTS = ".fiqa-export"
"""Folder in that of an export in which its files are made."""

MODELS = (*SUFFIXES, ".bin")

ADVICE = {
    "fp32": "report this with the weights, or export the checkpoint (.pth) instead",
    "fp16": "the network leaves the range of float16: take --precision fp32",
    "int8": "give --calibration a folder of more and other faces, or take --precision fp16",
    "int8+fp16": "give --calibration a folder of more and other faces, or take --precision fp16",
}
"""What to try where a proof fails, by precision."""


@dataclass(frozen=True, slots=True)
class Exported:
    """Files that were written and what was measured on them.

    Attributes:
        path: The model: `.onnx`, `.xml` or `.engine`.
        report: The verification report.
        card: The model's card.
        sha256: Of the model; of OpenVINO IR that on its card.
        size: Bytes of the model, of OpenVINO IR both files.
        faces: Number of faces it was verified on.
        files: Everything that was written.
        agreements: How its scores agree with the source's, by runtime and batch; empty where it could not run here.
        failures: What is beyond the tolerance; only with `keep_going`.
        notes: What its user must know, in sentences.
        change: Change of pAUC, where it was asked for.
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
        """Largest difference by runtime and batch size, and the worst of the other figures."""
        return self.card.verification


def export_model(
    name: str,
    weights: Path | None = None,
    out: Path | None = None,
    faces: Path | None = None,
    settings: ExportSettings | None = None,
) -> Exported:
    """Write a folder with a proven model and all that belongs to it, or nothing at all.

    The same weights and settings on the same machine give the same bytes of ONNX.

    Args:
        name: A quality network of `train.networks.VARIANTS`.
        weights: `.pth`, `.safetensors` or `.onnx`; None takes the packaged or fetches the published file.
        out: Folder, made where it is missing; None for one of the model's name.
        faces: Folder of aligned crops to verify on; None takes the packaged ones.
        settings: What to write; see `ExportSettings`.

    Raises:
        FiqaError: The options do not go together, the weights cannot be had or are not that network, the folder is
            being written by another export or is of another network, or the verification failed.
    """
    settings = settings or ExportSettings()
    target = check_settings(settings)
    out = Path(name) if out is None else out
    _check_outputs(name, out, weights, settings)
    crops = verification_faces(faces)
    calibration = calibration_faces(settings.calibration) if settings.precision in INT8 else None
    source = load_source(name, weights)
    job = _Job(settings, target, source, make_card(name, source, settings.precision), crops, calibration)
    make_folder(out)
    with locked(out):
        check_folder(out, job.card.source_sha256)
        with folder_draft(out, DRAFTS) as folder:
            exported = job.run(folder, PACKAGED if faces is None else str(faces))
    return dataclasses.replace(
        exported,
        path=out / exported.path.name,
        report=out / exported.report.name,
        files=tuple(out / draft.name for draft in exported.files),
    )


def _check_outputs(name: str, out: Path, weights: Path | None, settings: ExportSettings) -> None:
    """Refuse to write over what is read. The name of an engine is known only when it is built."""
    read = (weights or find_entry(name).embedded, settings.evaluate, settings.judge)
    inputs = [Path(path) for path in read if path is not None]
    stem = _stem(name, settings.precision)
    names = [f"{stem}{end}" for end in (".onnx", ".json", "-openvino.xml", "-openvino.bin", "-openvino.json")]
    for file in (*names, PROOF_FILE, NOTICE):
        check_outputs({"--out": out / file, "--timing-cache": settings.timing_cache}, inputs)


def _stem(name: str, precision: str) -> str:
    return name if precision == "fp32" else f"{name}-{precision}"


@dataclass(frozen=True, slots=True)
class _Job:
    """One export into a temporary folder."""

    settings: ExportSettings
    target: Target | None
    source: Source
    card: ModelCard
    crops: Faces
    calibration: Faces | None

    def run(self, folder: Path, origin: str) -> Exported:
        """Write all files into a folder; those of the result are in it."""
        settings, notes = self.settings, list(self._notes(origin))
        expected = self.source.reference(self.crops)
        stem = _stem(self.card.name, self.card.precision)
        summary: dict[str, object] = {}
        if settings.format == "openvino":
            path, card = self._write_openvino(folder / f"{stem}-openvino.xml", summary)
        else:
            path, card = self._write_onnx(folder / f"{stem}.onnx", summary)
        agreements, failures = self._prove(path, card, expected)
        card = dataclasses.replace(card, verification=figures(agreements), proven=not failures)
        if card.format == "onnx":
            write_file(path, with_card(onnx.load(path), card))
            check_form(path)
        write_card_beside(path, card)
        if settings.format in ENGINES:
            built = self._write_engine(path, notes)
            if built is not None:
                path, card, agreements, failures = self._prove_engine(*built, expected, notes)
        change = None
        if settings.evaluate is not None and settings.judge is not None and agreements:
            change = change_of_pauc(path, self.source.reference, settings.evaluate, settings.judge)
        files = {
            file.name: (file.stat().st_size, sha256(file.read_bytes()).hexdigest())
            for file in sorted(folder.iterdir())
            if file.suffix in MODELS
        }
        more: dict[str, object] = {"failures": failures, "notes": notes}
        if card.format == "onnx":
            more |= {"opset": OPSET, "ir_version": IR_VERSION}
        more["pauc"] = dataclasses.asdict(change) if change is not None else None  # not measured
        described = folder / f"{path.stem}.report.json"
        tested = {"count": len(self.crops), "origin": origin}
        write_file(described, report(files, card, tested, agreements, **more))
        if summary:
            write_file(folder / f"{path.stem}.calibration.json", as_json(summary))
        write_file(folder / NOTICE, notice(card))
        write_file(folder / PROOF_FILE, proof_file(self.crops, expected, card.source_sha256))
        digest = files[path.name][1]
        size = sum(files[name][0] for name in (path.name, f"{path.stem}.bin") if name in files)
        written = tuple(sorted(file for file in folder.iterdir() if file.is_file()))
        return Exported(
            path, described, card, card.engine.sha256 or digest, size, len(self.crops), written, agreements,
            failures, tuple(notes), change,
        )  # fmt: skip

    def _notes(self, origin: str) -> Iterator[str]:
        if self.calibration is not None and self.settings.calibration is None:
            yield (
                "ranges were measured on the packaged portrait in many states; real faces are better: "
                "give --calibration a folder of aligned crops"
            )
        if self.calibration is not None and origin == PACKAGED:
            yield f"it was proven on {len(self.crops)} states of one face; more faces prove more: give --faces"
        if self.target is not None and self.target.notes:
            yield f"{self.target.name}: {self.target.notes}"

    def _write_onnx(self, path: Path, summary: dict[str, object]) -> tuple[Path, ModelCard]:
        model = self.source.model
        if self.calibration is not None:
            quantised = quantise(model, self.calibration)
            model = quantised.model
            summary |= {
                "method": quantised.method,
                "faces": quantised.faces,
                "folder": str(self.settings.calibration or PACKAGED),
                "layers": list(quantised.layers),
                "ranges": dict(quantised.ranges),
            }
        if PRECISIONS[self.card.precision].half:
            model = to_half(model)
        write_file(path, with_card(model, self.card))
        check_form(path)
        return path, self.card

    def _write_openvino(self, path: Path, summary: dict[str, object]) -> tuple[Path, ModelCard]:
        from export.engines.openvino import to_openvino

        xml, weights, library = to_openvino(
            self.source.model.SerializeToString(deterministic=True), self.card.precision, self.calibration
        )
        if self.calibration is not None:
            folder = str(self.settings.calibration or PACKAGED)
            summary |= {"method": "NNCF", "faces": len(self.calibration), "folder": folder}
        engine = EngineFacts(sha256=openvino_digest(xml, weights), version=library)
        card = dataclasses.replace(self.card, format="openvino", engine=engine)
        write_file(path, xml)
        write_file(path.with_suffix(".bin"), weights)
        write_card_beside(path, card)
        return path, card

    def _write_engine(self, model: Path, notes: list[str]) -> tuple[Path, ModelCard] | None:
        """The engine of an ONNX file; None, and a note of what builds it, where it cannot be built here."""
        from export.engines.build import BATCHES, build_file
        from export.engines.tensorrt import CannotBuildHereError

        settings = self.settings
        try:
            written = build_file(
                model, settings.format, self.target, settings.batches or numbers(BATCHES, "--batch"),
                workspace_mib=settings.workspace_mib, timing_cache=settings.timing_cache,
            )  # fmt: skip
        except CannotBuildHereError as error:
            notes.append(f"no engine: {error}")
            return None
        return written.path, written.built.card

    def _prove_engine(
        self, path: Path, card: ModelCard, expected: NDArray[np.float32], notes: list[str]
    ) -> tuple[Path, ModelCard, Mapping[str, Agreement], tuple[str, ...]]:
        try:
            agreements, failures = self._prove(path, card, expected)
        except DeviceError as error:
            notes.append(f"{path.name} is unproven ({error}); on its device run: fiqa verify {path.name} --trust")
            card = dataclasses.replace(card, verification={})  # the figures were those of the ONNX file
            write_card_beside(path, card)
            return path, card, {}, ()
        card = dataclasses.replace(card, verification=figures(agreements), proven=not failures)
        write_card_beside(path, card)
        return path, card, agreements, failures

    def _prove(
        self, path: Path, card: ModelCard, expected: NDArray[np.float32]
    ) -> tuple[Mapping[str, Agreement], tuple[str, ...]]:
        """Compare a file's scores with the source's.

        Raises:
            ModelError: They differ by more than the precision may, and nothing said to keep going.
        """
        agreements = compare(path, self.crops, expected, runtimes_for(card.format, card.precision))
        failures = failures_of(agreements, card.precision)
        if failures and not self.settings.keep_going:
            raise ModelError(
                f"{path.name} does not score as its source does: {'; '.join(failures)}. Nothing was written: "
                f"{ADVICE[card.precision]}, or --keep-going to have the file all the same, marked unproven"
            )
        return agreements, failures
