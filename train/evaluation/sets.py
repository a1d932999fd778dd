"""Sets of images, chosen from a clean set and the damaged copies that `fiqa-train prepare` made of it."""

import logging
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError
from train.data.manifest import Manifest
from train.degradations.graded import MISALIGNED, worst_grade

logger = logging.getLogger(__name__)

MIXED_GRADE = 0.5
"""Highest grade of damage in the set `mixed`."""


@dataclass(frozen=True, slots=True)
class ImageSet:
    """For each undamaged image, whether and by which of its copies it is replaced.

    Attributes:
        takes: Whether a copy with this `degradation` may stand for its original.
        odds: Probability that one does.
    """

    takes: Callable[[str], bool]
    odds: float


SETS = {
    "clean": ImageSet(lambda damage: False, 0.0),
    "mixed": ImageSet(lambda damage: MISALIGNED not in damage and worst_grade(damage) <= MIXED_GRADE, 0.5),
    "harsh": ImageSet(lambda damage: MISALIGNED not in damage, 0.5),
    "misaligned": ImageSet(lambda damage: MISALIGNED in damage, 1.0),
}
"""`clean`: undamaged images. `harsh`: of each image, at even odds, itself or its damaged copy. `mixed`: the same, but a
copy that was damaged with a grade above `MIXED_GRADE` is replaced by its original: beyond it hardly any comparison
succeeds, collapsed images resemble each other and raise the threshold, and every quality measure looks alike.
`misaligned`: of each image its copy that was aligned on wrong landmarks."""


def set_rows(manifest: Manifest, name: str, split: str | None, seed: int = 0) -> NDArray[np.int64]:
    """Rows of a set, see `SETS`; the choice of a mixed set depends on each image's name and the seed alone.

    Rows with a text in the column `error` were not labelled: they are left out, and the log says so.

    Raises:
        InputError: The set is unknown or empty, or the manifest has no copies for it.
    """
    if name not in SETS:
        raise InputError(f"unknown set {name!r}, wanted one of: {', '.join(SETS)}")
    wanted = SETS[name]
    damages, originals = _column(manifest, "degradation"), _column(manifest, "original", manifest.paths)
    chosen: dict[str, int] = {}
    replaced = False
    for row in rows_without_errors(manifest, split):
        original, damage = originals[row], damages[row]
        if not damage:
            chosen.setdefault(original, row)
        elif wanted.takes(damage):
            replaced = True
            if _draw(original, seed) < wanted.odds:
                chosen[original] = row
    if not chosen:
        raise InputError(f"the set {name} has no image of split {split!r}; see the manifest's columns")
    if wanted.odds and not replaced:
        needed, how = "damaged copies", "prepare"
        if name == "misaligned":
            needed, how = "copies on wrong landmarks", "prepare --misaligned 1"
        raise InputError(f"the set {name} needs {needed}, and the manifest has none; see `fiqa-train {how}`")
    return np.array(sorted(chosen.values()), np.int64)


def rows_without_errors(manifest: Manifest, split: str | None = None) -> list[int]:
    """Rows of a split (of all where None) that labelling has not marked as failed; the log says how many it has."""
    splits = manifest.column("split") if split else [None] * len(manifest)
    rows = [row for row in range(len(manifest)) if splits[row] == split]
    errors = _column(manifest, "error")
    failed = [row for row in rows if errors[row]]
    if failed:
        logger.warning("%d images that were not labelled are left out, first: %s", len(failed), errors[failed[0]])
    return [row for row in rows if not errors[row]]


def _column(manifest: Manifest, name: str, otherwise: list[str] | None = None) -> list[str]:
    if name in manifest.table.column_names:
        return manifest.column(name)
    return otherwise or [""] * len(manifest)


def _draw(key: str, seed: int) -> float:
    return float(np.random.default_rng([seed, zlib.crc32(key.encode())]).random())
