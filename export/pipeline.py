"""An export from end to end: read the network, write its file, prove it, and leave a folder."""

import dataclasses
from pathlib import Path

from export.exported import Exported, finish_folder, in_folder
from export.file_card import make_card
from export.formats.table import Order, file_name
from export.proof.crops import calibration_faces
from export.proof.package import NOTICE, check_folder
from export.proof.pauc_change import Change, change_of_pauc
from export.proven_file import ProvenFile, Trial, make_file
from export.rules import check_settings
from export.settings import INT8, ExportSettings
from export.sources.source import Source
from export.tasks.base import TaskSteps, find_steps
from export.tasks.recognition import FaceRecognition, RecognitionSteps
from sdk.files import check_outputs, make_folder
from sdk.files.folder_draft import folder_draft
from sdk.models.catalog import find_entry
from sdk.models.formats import ENGINES, FORMATS
from sdk.proof.verify import PROOF_FILE
from train.lock import locked

PACKAGED = "packaged"
"""Origin of images that come with the package."""

DRAFTS = ".fiqa-export"
"""Folder inside the output folder, in which the files are made."""


def export_model(
    name: str,
    weights: Path | None = None,
    out: Path | None = None,
    faces: Path | None = None,
    settings: ExportSettings | None = None,
) -> Exported:
    """Write a folder with a proven model and all files that belong to it, or nothing at all.

    The same weights and settings on the same machine give the same bytes of ONNX.

    Args:
        name: Name of the network, see `export.networks.NETWORKS`.
        weights: `.pth`, `.safetensors` or `.onnx` file; None for the packaged or published one.
        out: Folder to write, made if it is missing; None for one with the name of the network.
        faces: Folder of aligned 112 x 112 crops to verify on; None for packaged ones.
        settings: Format, precision and other options; None for ONNX in fp32.

    Returns:
        The files and their measurements.

    Raises:
        FiqaError: Options do not go together, the weights cannot be read or are not of that network, the folder is
            in use by another export or holds other weights, or the proof failed.
    """
    settings = settings or ExportSettings()
    check_settings(settings, name)
    return _export(find_steps(name), name, weights, weights or find_entry(name).embedded, out, faces, settings)


def export_recognition(model: FaceRecognition, out: Path | None = None, faces: Path | None = None) -> Exported:
    """Write a folder with a face-recognition model that gives the quality of each face in the same pass.

    The file has the outputs `quality` and `embedding`. It is ONNX in fp32, and proven as any export.

    Args:
        model: The model, and how its quality is measured.
        out: Folder to write, made if it is missing; None for one with the name of the model.
        faces: Folder of aligned 112 x 112 crops to verify on; None for packaged ones.

    Raises:
        FiqaError: As `export_model`; or the model cannot be turned into ONNX.
    """
    return _export(RecognitionSteps(model), model.name, model.weights, model.file, out, faces, ExportSettings())


def _export(
    steps: TaskSteps,
    name: str,
    weights: Path | None,
    read: Path | None,
    out: Path | None,
    faces: Path | None,
    settings: ExportSettings,
) -> Exported:
    """Export by the steps of a task; `read` is the file of the weights, which must not be overwritten."""
    target = check_settings(settings)
    out = Path(name) if out is None else out
    _check_outputs(name, out, read, settings)
    images = steps.read_images(faces)
    calibration = calibration_faces(settings.calibration) if settings.precision in INT8 else None
    source = steps.load_source(name, weights, settings.embedding)
    card = make_card(name, source, settings.precision)
    make_folder(out)
    with locked(out):
        check_folder(out, card.source_sha256)
        with folder_draft(out, DRAFTS) as folder:
            origin = str(settings.calibration or PACKAGED)
            order = Order(folder, source.model, source.ends, card, settings, target, calibration, origin)
            trial = Trial(steps, images, [source.reference(part) for part in images])
            proven = make_file(order, trial, settings.format)
            notes = (*_notes(order, trial, packaged=faces is None), *proven.notes)
            change = _measure_change(proven, source, settings)
            origin = str(faces or PACKAGED)
            exported = finish_folder(dataclasses.replace(proven, notes=notes), trial, origin, change)
    return in_folder(exported, out)


def _check_outputs(name: str, out: Path, weights: Path | None, settings: ExportSettings) -> None:
    """Refuse to overwrite an input. The name of an engine is checked later: it is known only when it is built."""
    read = (weights, settings.evaluate, settings.judge)
    inputs = [Path(path) for path in read if path is not None]
    models = [out / file_name(name, settings.precision, other) for other in FORMATS if other not in ENGINES]
    beside = [model.with_suffix(suffix) for model in models for suffix in (".json", ".bin")]
    for file in (*models, *beside, out / PROOF_FILE, out / NOTICE):
        check_outputs({"--out": file, "--timing-cache": settings.timing_cache}, inputs)


def _notes(order: Order, trial: Trial, packaged: bool) -> tuple[str, ...]:
    """Return what the user must know of an export, in sentences."""
    notes = []
    if order.calibration is not None and order.settings.calibration is None:
        notes.append(
            "ranges were measured on the packaged portrait, damaged in many ways; real faces are better: "
            "give --calibration a folder of aligned crops"
        )
    if order.calibration is not None and packaged:
        notes.append(f"it was proven on {trial.count} states of one face; more faces prove more: give --faces")
    if order.target is not None and order.target.notes:
        notes.append(f"{order.target.name}: {order.target.notes}")
    return tuple(notes)


def _measure_change(proven: ProvenFile, source: Source, settings: ExportSettings) -> Change | None:
    """Return the change of pAUC; None if it was not asked for, or the file does not run here."""
    if settings.evaluate is None or settings.judge is None or not proven.agreements:
        return None
    return change_of_pauc(proven.path, source.reference, settings.evaluate, settings.judge)
