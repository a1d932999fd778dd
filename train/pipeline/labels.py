"""The labels of a recipe's images."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdk.errors import InputError
from train.data.embeddings import open_vectors
from train.data.label_targets import centre_cosines
from train.data.manifest import Manifest, read_manifest, write_table
from train.data.mislabelled import find_mislabelled
from train.labelling.embedder import embed_manifest
from train.labelling.labeller import Labeller
from train.labelling.method import RunOptions, label_images
from train.labelling.runner import add_column
from train.methods.faceqan import FaceQANLabeller, FaceQANSettings
from train.pipeline.files import Files
from train.pipeline.teacher import Teacher
from train.recipes import Recipe, settings_from

logger = logging.getLogger(__name__)

WRONG_NAME = "mislabelled"
"""Split of images that carry another person's name."""


def label(recipe: Recipe, teacher: Teacher, files: Files) -> None:
    """Embed all images, with FaceQAN's labels where the recipe has its section, and mark wrong names."""
    if files.labels.exists():
        logger.info("%s is there already", files.labels)
        return
    manifest, unchecked = files.crops, files.labels.with_stem("labels-unchecked")
    if "faceqan" in recipe:
        if not unchecked.exists():
            _label_faceqan(dict(recipe["faceqan"] or {}), teacher, unchecked, files)
        manifest = unchecked
    else:
        embed_manifest(read_manifest(manifest), teacher.load(), files.embeddings)
    write_table(_without_wrong_names(read_manifest(manifest), open_vectors(files.embeddings)), files.labels)
    unchecked.unlink(missing_ok=True)


def _label_faceqan(section: dict[str, Any], teacher: Teacher, out: Path, files: Files) -> None:
    bf16, batch = section.pop("bf16", False), section.pop("batch", 16)
    if not isinstance(bf16, bool) or type(batch) is not int or batch < 1:
        raise InputError(
            f"faceqan has bf16={bf16!r}, batch={batch!r}; wanted true or false, and a whole number above 0"
        )
    options = {"settings": settings_from(FaceQANSettings, section), "model": teacher.model, "weights": teacher.weights}
    options |= {"bf16": bf16, **teacher.given}
    label_images(FaceQANLabeller.load, options, files.crops, out, files.embeddings, RunOptions(batch))


def add_label(name: str, peers: Sequence[Labeller], files: Files) -> None:
    """Label all images, once: `centre` and `norm` by their embeddings, else by the peer of that name."""
    manifest = read_manifest(files.labels)
    if found := next((peer for peer in peers if peer.name == name), None):
        add_column(files.labels, found)
    elif name in manifest.table.column_names:
        logger.info("%s has the column %s already", files.labels, name)
    elif name == "centre":
        write_table(_with_centre(manifest, open_vectors(files.embeddings)), files.labels)
    elif name == "norm":
        norms = np.linalg.norm(open_vectors(files.embeddings), axis=1).astype(np.float64)
        write_table(manifest.table.append_column("norm", pa.array(norms)), files.labels)
    else:
        known = ", ".join(["faceqan (a section of the recipe)", "centre", "norm", *(peer.name for peer in peers)])
        raise InputError(f"nothing makes the label {name!r}, wanted some of: {known}; peers are named in the recipe")


def _with_centre(manifest: Manifest, embeddings: NDArray[np.float32]) -> pa.Table:
    """Return the table with the column `centre`: the cosine of each image to its person's other clean images.

    It is empty for images with a wrong name.
    """
    rows = np.flatnonzero(np.array(manifest.column("split")) != WRONG_NAME)
    part = manifest.select(rows)
    clean = np.array([not value for value in part.column("degradation")])
    labels = np.full(len(manifest), np.nan)
    labels[rows] = centre_cosines(embeddings[rows], part.identities, clean, leave_out=True)
    return manifest.table.append_column("centre", pa.array(labels, from_pandas=True))


def _without_wrong_names(manifest: Manifest, embeddings: NDArray[np.float32]) -> pa.Table:
    """Return the table with the split `WRONG_NAME`, which no later stage takes, for images with a wrong name."""
    clean = np.flatnonzero([not value for value in manifest.column("degradation")])
    wrong = find_mislabelled(embeddings[clean], np.array(manifest.identities)[clean])
    paths = manifest.paths
    originals = {paths[row] for row in clean[wrong]}
    logger.info("%d images carry another person's name and are left out: %s", len(originals), sorted(originals))
    columns = zip(manifest.column("split"), manifest.column("original"), strict=True)
    splits = [WRONG_NAME if original in originals else split for split, original in columns]
    return manifest.table.set_column(manifest.table.column_names.index("split"), "split", pa.array(splits))
