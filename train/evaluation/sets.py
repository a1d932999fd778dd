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
    """Rule that replaces undamaged images by their damaged copies.

    Attributes:
        takes: Returns True for a `degradation` whose copies may replace their originals.
        odds: Probability that an image is replaced.
    """

    takes: Callable[[str], bool]
    odds: float


SETS = {
    "clean": ImageSet(lambda damage: False, 0.0),
    "mixed": ImageSet(lambda damage: MISALIGNED not in damage and worst_grade(damage) <= MIXED_GRADE, 0.5),
    "harsh": ImageSet(lambda damage: MISALIGNED not in damage, 0.5),
    "misaligned": ImageSet(lambda damage: MISALIGNED in damage, 1.0),
}
"""The sets by name.

- `clean`: the undamaged images.
- `harsh`: half of the images are replaced by a damaged copy.
- `mixed`: the same, but only copies of grades up to `MIXED_GRADE` replace an image. Above it hardly any comparison
  succeeds, unrecognisable images resemble each other and raise the threshold, and all quality measures look alike.
- `misaligned`: all images are replaced by their copies that were aligned on wrong landmarks.
"""


def set_rows(manifest: Manifest, name: str, split: str | None, seed: int = 0) -> NDArray[np.int64]:
    """Return the rows of a set, see `SETS`. Which images are replaced depends on their names and the seed alone.

    Rows with a text in the column `error` were not labelled. They are left out, and the log says so.

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
    """Return the rows of a split, or all rows, but not those that were not labelled: the log counts these."""
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
