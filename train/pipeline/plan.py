"""The plan of an adaptation: its stages, with times that are estimated from short measurements on this machine."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from sdk.errors import ImageError
from sdk.text import count
from train.data.manifest import Manifest
from train.data.prepare import split_people
from train.data.sources.photos import PhotoReader
from train.fitting.regressor import RegressorRecipe
from train.networks import create_network
from train.networks.recognition import RecognitionModel
from train.pipeline.files import Files
from train.recipes import Recipe

TRIED = 3
"""Photos that are read for the estimate."""

TIMES = 5
"""Measurements of each kind; the shortest counts, for other programs may disturb."""

CUT, TRAINED, EVALUATED = 0.004, 4.0, 30.0
"""Seconds to cut, damage and write a crop; passes forward that a step of training takes; seconds of the bootstraps and
of the export. Measured once, on two cores of a server CPU."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of the plan.

    Attributes:
        name: Of the stage.
        what: The work, in words.
        seconds: Estimated time; 0 where it is done already.
    """

    name: str
    what: str
    seconds: float


def make_plan(manifest: Manifest, teacher: RecognitionModel, recipe: Recipe, files: Files) -> list[Stage]:
    """Measure a few faces, and estimate each stage.

    Args:
        manifest: Photos.
        teacher: Face-recognition model.
        recipe: The recipe of the run.
        files: What is there already is done.
    """
    settings = RegressorRecipe.from_recipe(recipe)
    splits = split_people(manifest.identities, settings.prepare)
    tested = sum(splits[name] == "test" for name in manifest.identities)
    others = len(manifest) - tested
    crops = tested * (1 + settings.prepare.test_copies) + others * (1 + settings.prepare.copies)
    cores = os.cpu_count() or 1
    faces = torch.rand((8, 3, 112, 112))
    reader = PhotoReader(manifest, settings.prepare.detector, settings.prepare.aligned)
    rows = np.linspace(0, len(manifest) - 1, min(TRIED, len(manifest))).astype(int)
    with torch.inference_mode():
        embed = _seconds(lambda: teacher(faces)) / len(faces)
        student: Any = create_network(settings.network).eval()
        student.to(memory_format=torch.channels_last)
        faces = faces.contiguous(memory_format=torch.channels_last)
        score = _seconds(lambda: student(faces)) / len(faces)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.training.precision == "bf16"):
            step = _seconds(lambda: student(faces)) / len(faces) * TRAINED
    read = _seconds(lambda: list(map(partial(_read, reader), rows.tolist()))) / len(rows)
    if "faceqan" in recipe:
        section = recipe["faceqan"] or {}
        passes = 2 + section.get("copies", 10) * section.get("iterations", 5) * 3  # back is twice a pass forward
        embed *= passes
    epochs, trained = settings.training.epochs, crops - 2 * tested
    method = "embed and label with FaceQAN" if "faceqan" in recipe else "embed"
    stages = [
        Stage("prepare", f"{len(manifest)} photos, {crops} crops", (read * len(manifest) + CUT * crops) / cores),
        Stage("label", f"{method} {crops} crops, and score them", (embed + score) * crops / cores),
        Stage("train", f"{count('epoch', epochs)} of {trained} crops", trained * (score + step * epochs)),
        Stage("evaluate", f"{tested} photos of test people; export, calibrate", EVALUATED),
    ]
    done = (files.crops.exists(), files.labels.exists(), files.weights.exists(), False)
    return [
        Stage(stage.name, stage.what, 0.0 if finished else stage.seconds)
        for stage, finished in zip(stages, done, strict=True)
    ]


def _read(reader: PhotoReader, row: int) -> None:
    with suppress(ImageError):  # it is left out, and named, when its turn comes
        reader.read(row)


def _seconds(work: Callable[[], object]) -> float:
    """Return the seconds of some work: the shortest of some times, after the first, which also loads things."""
    work()
    taken = []
    for _ in range(TIMES):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)
