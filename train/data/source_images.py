"""Faces cut from their source images, on the true landmarks or on others near them.

So a crop of `fiqa-train prepare` can be made again on other landmarks, and its damaged copies can, too: their damage is
drawn from the image's name and the seed, and does not depend on the landmarks.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from sdk.alignment import Border, align
from sdk.errors import InputError
from sdk.images.decoding import load_image
from train.data.dataset import FaceDataset, Item, image_tensor
from train.data.manifest import Manifest, parse_landmarks
from train.data.prepare import PrepareSettings, copy_damages
from train.data.sources.source import Source, joined, read_source
from train.degradations.graded import degrade, describe
from train.degradations.landmarks import perturb

Rows = Sequence[int] | NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class SourceFace:
    """Where a row of a manifest came from.

    Attributes:
        path: The source image.
        landmarks: float64 (5, 2), its landmarks in the source image's pixels.
        name: Of the source image; it seeds the damage.
        copy: Which damaged copy it is; 0 for the clean crop.
        copies: How many damaged copies there are.
        seed: Of the damage.
        border: What the crop shows outside the image, see `sdk.align`.
    """

    path: Path
    landmarks: NDArray[np.float64]
    name: str = ""
    copy: int = 0
    copies: int = 0
    seed: int = 0
    border: Border = "black"

    def cut(self, landmarks: ArrayLike) -> NDArray[np.uint8]:
        """Align the face on some landmarks, and damage it as its crop was: uint8 BGR (112, 112, 3).

        Raises:
            ImageError: The image cannot be read, or the landmarks make no face.
        """
        face = align(load_image(self.path), landmarks, border=self.border)
        if not self.copy:
            return face
        return degrade(face, *copy_damages(self.name, self.copy, self.copies, self.seed))


def source_faces(
    manifest: Manifest, rows: Rows, sources: Sequence[Source] = (), prepared: PrepareSettings | None = None
) -> dict[int, SourceFace]:
    """Find the source images and landmarks of some rows.

    Args:
        manifest: Of source images with a column `landmarks`; or, with `sources`, of crops of `fiqa-train prepare`.
        rows: The rows.
        sources: What the crops were cut from, in the order of `prepare`; archives are unpacked. Of no use where the
            manifest has no column `source`, for then it is one of source images.
        prepared: How the crops were made, for their border and their damaged copies.

    Raises:
        InputError: An image has no landmarks, or a damaged copy is not one that `prepared` makes.
    """
    if not sources or "source" not in manifest.table.column_names:
        return _of_sources(manifest, rows)
    names, columns = manifest.column("source"), manifest.table.column_names
    known = _landmarks_by_name(joined([read_source(source) for source in sources]), {names[row] for row in rows})
    damage = manifest.column("degradation") if "degradation" in columns else [""] * len(manifest)
    splits = manifest.column("split") if "split" in columns else [""] * len(manifest)
    missing = [names[row] for row in rows if names[row] not in known]
    if missing:
        raise InputError(_without_landmarks(len(missing), missing[0]))
    prepared = prepared or PrepareSettings()
    found = {}
    for row in map(int, rows):
        name, copies = names[row], prepared.test_copies if splits[row] == "test" else prepared.copies
        copy = _which_copy(name, damage[row], copies, prepared.seed)
        found[row] = SourceFace(*known[name], name, copy, copies, prepared.seed, prepared.border)
    return found


def _of_sources(manifest: Manifest, rows: Rows) -> dict[int, SourceFace]:
    paths = manifest.paths
    values = manifest.column("landmarks") if "landmarks" in manifest.table.column_names else [None] * len(manifest)
    points = {int(row): parse_landmarks(values[row], Path(paths[row])) for row in rows}
    missing = [row for row, value in points.items() if value is None]
    if missing:
        raise InputError(_without_landmarks(len(missing), paths[missing[0]]))
    return {row: SourceFace(manifest.root / paths[row], value) for row, value in points.items() if value is not None}


def _without_landmarks(count: int, first: str) -> str:
    return (
        f"{count} images have no landmarks, first {first!r}; wanted unaligned images with a column 'landmarks', or "
        "--images and --landmarks: of the images themselves, or of the sources of crops of `fiqa-train prepare`"
    )


def _landmarks_by_name(sources: Manifest, wanted: Set[str]) -> dict[str, tuple[Path, NDArray[np.float64]]]:
    found = {}
    if "landmarks" in sources.table.column_names:
        names, paths = sources.column("source"), sources.paths
        for name, path, value in zip(names, paths, sources.column("landmarks"), strict=True):
            points = parse_landmarks(value, Path(name)) if name in wanted else None
            if points is not None:
                found[name] = (sources.root / path, points)
    return found


def _which_copy(name: str, degradation: str, copies: int, seed: int) -> int:
    if not degradation:
        return 0
    for copy in range(1, copies + 1):
        if describe(copy_damages(name, copy, copies, seed)[0]) == degradation:
            return copy
    raise InputError(
        f"{name} has a damaged copy with {degradation!r}, which copies = {copies} and seed = {seed} do not make; "
        "give the recipe the section 'prepare' that the copies were made with"
    )


class PerturbedDataset(FaceDataset):
    """Faces that are cut each time on newly perturbed landmarks; the shift depends on seed, epoch and row.

    Args:
        manifest: As `FaceDataset`.
        sources: Of the rows, see `source_faces`.
        rows: As `FaceDataset`.
        targets: As `FaceDataset`.
        pixels: See `perturb`; 0 for the true landmarks.
        scaled: See `perturb`.
        flip: As `FaceDataset`.
        seed: Of flips and shifts.
        aligned: Hand out each face on its true landmarks as well, not flipped, as `aligned`.
    """

    def __init__(
        self,
        manifest: Manifest,
        sources: dict[int, SourceFace],
        rows: Rows,
        targets: dict[str, NDArray[Any]],
        pixels: float,
        scaled: bool = False,
        flip: float = 0.0,
        seed: int = 0,
        aligned: bool = False,
    ) -> None:
        super().__init__(manifest, rows, targets, flip, seed)
        self._sources, self._pixels, self._scaled, self._aligned = sources, pixels, scaled, aligned

    def _targets_of(self, row: int) -> Item:
        item = super()._targets_of(row)
        if self._aligned:
            source = self._sources[row]
            item["aligned"] = image_tensor(source.cut(source.landmarks))
        return item

    def _face(self, row: int, rng: Generator) -> NDArray[np.uint8]:
        source = self._sources[row]
        return source.cut(perturb(source.landmarks, self._pixels, rng, self._scaled))
