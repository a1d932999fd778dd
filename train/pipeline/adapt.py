"""From a folder of photos and a face-recognition model to a quality model for that model: `fiqa-train adapt`."""

import copy
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdk.decision.calibrate import Fitted, Targets, calibrate
from sdk.decision.calibration import Calibration
from sdk.errors import InputError
from sdk.files import make_folder
from sdk.models.formats import resolve
from sdk.models.loading import load_model
from train.data.manifest import Manifest
from train.data.sources.source import Source, read_sources
from train.lock import locked
from train.pipeline.calibrate import read_measured
from train.pipeline.files import Files
from train.pipeline.plan import Stage, make_plan
from train.pipeline.report import Outcome, verdicts, write_report
from train.pipeline.run import run_recipe
from train.pipeline.start import PACKAGED
from train.pipeline.teacher import INPUT, Teacher
from train.recipes import Recipe, read_recipe

logger = logging.getLogger(__name__)

NAME = "adapted"
"""Column of the network's scores, in the tables."""

FEWEST_PEOPLE = 20
"""Fewest people with several photos: below it nothing is left to train on, to validate and to test."""

EXPORT = "export.pipeline:export_model"
"""What writes the model's file. `train` does not import `export`; it is named here and imported when it is used."""


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What an adaptation is made from.

    Attributes:
        sources: Photos, see `train.data.sources.source.Source`.
        teacher: The face-recognition model.
        faceqan: Also label with FaceQAN, which needs gradients of the model.
        detector: Finds the faces of photos without landmarks.
    """

    sources: Sequence[Source]
    teacher: Teacher
    faceqan: bool = False
    detector: str = "fiqa-detector"

    def recipe(self) -> Recipe:
        """Return the recipe `adapt` with these photos and this model."""
        recipe = copy.deepcopy(read_recipe("adapt"))
        items = [
            {
                "source": str(source.source.absolute()),
                **({"landmarks": str(source.landmarks.absolute())} if source.landmarks else {}),
                **({"identity": source.identity} if source.identity else {}),
            }
            for source in self.sources
        ]
        recipe["prepare"] |= {"sources": items, "detector": self.detector}
        recipe["teacher"] = {"model": self.teacher.model} | {
            name: self.teacher.given[name] for name in self.teacher.given
        }
        if self.teacher.weights:
            recipe["teacher"]["weights"] = str(self.teacher.weights.absolute())
        if self.faceqan:
            recipe["faceqan"] = {"copies": 1}
            recipe["blend"]["outputs"].append({"label": "faceqan", "weight": 0.4})
        return recipe


def adapt(
    wanted: Adaptation, out: Path, show: Callable[[Sequence[Stage]], None], only_plan: bool = False
) -> Outcome | None:
    """Prepare, label, train, evaluate, export and calibrate. A run that was stopped goes on when it is started again.

    Args:
        wanted: Photos and model.
        out: Folder to write: the run of the recipe, `model/` (the ONNX file and what belongs to it), `calibration.json`
            and `report.html`.
        show: Called once with the plan, before anything is done.
        only_plan: End then.

    Returns:
        What came of it; None where only the plan is wanted.

    Raises:
        InputError: There are too few people with several photos, the folder is of another run, or a stage refuses its
            input.
        ModelError: The face-recognition model cannot be loaded, or the export is not proven.
    """
    network = wanted.teacher.load()  # a wrong model is said before anything about the photos
    make_folder(out / "faces")
    files, recipe = Files(out), wanted.recipe()
    manifest = read_sources(wanted.sources, out / "faces")
    _check_people(manifest)
    stages = make_plan(manifest, network, recipe, files)
    show(stages)
    if only_plan:
        return None
    started = time.monotonic()
    weights = run_recipe(recipe, Path.cwd(), out)
    with locked(out):
        exported: Any = resolve(EXPORT)(PACKAGED, weights, out / "model")
        model = load_model(exported.path)
        calibrated = _calibrate(files, (model.card.name, model.sha256), wanted.teacher)
        calibration = calibrated.calibration if isinstance(calibrated, Fitted) else calibrated
        if isinstance(calibration, Calibration):
            calibration.write(out / "calibration.json")
        outcome = Outcome(
            wanted.teacher, exported.path, calibration, verdicts(out / "evaluation" / "table.csv", NAME, PACKAGED),
            time.monotonic() - started,
        )  # fmt: skip
        write_report(outcome, files, json.dumps(recipe, indent=2))
    return outcome


def _check_people(manifest: Manifest) -> None:
    """Refuse photos of too few people with several photos."""
    counts = np.unique(manifest.identities, return_counts=True)[1]
    several = int((counts > 1).sum())
    if several < FEWEST_PEOPLE:
        raise InputError(
            f"{several} of {len(counts)} people have several photos, wanted {FEWEST_PEOPLE} or more: labels and the "
            "test compare photos of one person; sort the photos into a folder a person"
        )


def _calibrate(files: Files, model: tuple[str, str], teacher: Teacher) -> Fitted | str:
    """Calibrate on the clean photos of the test people; return why not where they do not suffice."""
    judge = (Path(teacher.model).stem if teacher.files else teacher.model, "")
    try:
        found = read_measured(files, NAME, ("clean", "test"), files.scores_embeddings)
        return calibrate(model, judge, found, Targets())
    except InputError as error:
        logger.warning("no calibration: %s", error)
        return str(error)


def given_input(**values: Any) -> dict[str, Any]:
    """Return what is given of a model's input, see `Teacher.given`."""
    return {name: list(values[name]) if name in ("mean", "std") else values[name] for name in INPUT if values.get(name)}
