"""Make aligned crops and graded damaged copies of images, split by person.

Writes `<out>/<split>/<identity>/<image>.png` and `manifest.csv`, so that the crops can be looked at and labelled,
trained on and evaluated like any other folder of faces.
"""

import logging
import os
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.alignment import align
from sdk.commands.console import progress_bar
from sdk.errors import ImageError, InputError
from sdk.files import check_outputs, make_folder, write_file, write_json
from sdk.images.decoding import load_image
from sdk.parallel import bounded_map
from train.data.archive import unpack
from train.data.crops import crop_stems
from train.data.embeddings import read_by_name
from train.data.manifest import Manifest, make_manifest, read_manifest, write_table
from train.degradations.graded import LANDMARK_SHIFT, MISALIGNED, VERSION, Damage, degrade, describe, draw_damages
from train.degradations.landmarks import perturb
from train.lock import locked
from train.recipes import check_least
from train.run_state import RunRecord, read_record

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """How crops are made and people are divided.

    Attributes:
        copies: Damaged copies of each training and validation image; the i-th has grades in [i, i + 1] / copies.
        test_copies: The same for test images.
        misaligned: Copies of each test image that are cut out on wrong landmarks, see `LANDMARK_SHIFT`, with
            grades in the same steps; the images need landmarks.
        test: Fraction of the people with several images who are kept for the test.
        validation: Fraction of all the people who are kept for validation.
        seed: Of the split and of the damage.
    """

    copies: int = 3
    test_copies: int = 1
    misaligned: int = 0
    test: float = 0.4
    validation: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        check_least(self, 0, "copies", "test_copies", "misaligned", "seed")
        for name in ("test", "validation"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}, wanted a share from 0 to 1")


def prepare(source: Path, out: Path, settings: PrepareSettings, landmarks: Path | None = None) -> Path:
    """Make crops, copies and their manifest; an image that cannot be read is logged and left out.

    Args:
        source: Folder, manifest, or a .tar of a folder of images.
        out: Folder to write.
        settings: See `PrepareSettings`.
        landmarks: .npz with `names` (paths relative to the source's folder) and `landmarks` (N, 5, 2).

    Returns:
        Path of `manifest.csv`: path, identity, split (train, validation, test), original (the clean crop's path),
        source (the image that the crop was cut from), degradation (empty for a clean crop) and degradations_version
        (see `train.degradations.graded.VERSION`). Where it exists already, nothing is done; `prepare.json` beside it
        keeps the settings and the names of source and landmarks.

    Raises:
        InputError: The source cannot be read or holds no image with landmarks, the crops in the folder were made with
            other settings, or another run is writing there.
        OutputError: The disk is full; started again, the run begins anew.
    """
    check_outputs({"--out": out}, [source])
    check_outputs({"--out": out / "manifest.csv"}, [source, landmarks or source])
    make_folder(out)
    with locked(out):
        return _prepare(source, out, settings, landmarks)


def _prepare(source: Path, out: Path, settings: PrepareSettings, landmarks: Path | None) -> Path:
    target, kept = out / "manifest.csv", out / "prepare.json"
    files = {"source": source.name, "landmarks": landmarks and landmarks.name}
    record = RunRecord({**asdict(settings), **files})
    if target.exists():
        _check_same(record, kept)
        logger.info("%s is there already", target)
        return target
    manifest = _outside(read_source(source, out / "images", landmarks), out)
    identities = manifest.identities
    splits = split_people(identities, settings)
    folders = [f"{splits[identity]}/{identity}" for identity in identities]
    marks = {split: _marks(split, settings) for split in set(splits.values())}
    marks_of = [marks[splits[identity]] for identity in identities]
    stems = crop_stems(manifest.paths, folders, marks_of)
    _check_inputs_stay(manifest, out, folders, stems, marks_of)

    def crops_of(row: int) -> list[dict[str, Any]]:
        try:
            return _write_crops(manifest, row, splits[identities[row]], stems[row], out, settings)
        except ImageError as error:
            logger.warning("left out: %s", error)
            return []

    rows, left_out = [], 0
    with ThreadPoolExecutor() as pool, progress_bar("crops", len(manifest)) as advance:
        for made in bounded_map(pool, crops_of, range(len(manifest)), 64):
            rows += made
            left_out += not made
            advance(1)
    if not rows:
        raise InputError(f"no image of {source} could be read; see the log for each one's reason")
    if left_out:
        logger.warning("%d of %d images could not be read and are left out", left_out, len(manifest))
    write_json(kept, record.as_dict())
    write_table(make_manifest(rows, out).table, target)
    return target


def _check_same(record: RunRecord, path: Path) -> None:
    if path.exists():
        record.check(read_record(path), path, "give another --out")
    else:
        logger.warning("%s is gone, so nothing says how the crops beside it were made", path)


def _outside(manifest: Manifest, out: Path) -> Manifest:
    """Leave out what is below the folder of crops, which may be inside the folder of images."""
    try:
        below = f"{out.resolve().relative_to(manifest.root.resolve()).as_posix()}/"
    except ValueError:
        return manifest
    rows = [row for row, path in enumerate(manifest.paths) if not path.startswith(below)]
    if not rows:
        raise InputError(f"all images of {manifest.root} are in {out}, where the crops go; give another --out")
    return manifest.select(rows)


def _marks(split: str, settings: PrepareSettings) -> list[str]:
    """Return the endings of the names of an image's crops."""
    copies = settings.test_copies if split == "test" else settings.copies
    misaligned = settings.misaligned if split == "test" else 0
    return ["", *(f"-{copy + 1}" for copy in range(copies)), *(f"-m{copy + 1}" for copy in range(misaligned))]


def _check_inputs_stay(
    manifest: Manifest, out: Path, folders: Sequence[str], stems: Sequence[str], marks: Sequence[Sequence[str]]
) -> None:
    """Refuse to write a crop over an image that is read."""
    root, target = os.path.realpath(manifest.root), os.path.realpath(out)
    inputs = {os.path.normpath(os.path.join(root, path)) for path in manifest.paths}
    for folder, stem, endings in zip(folders, stems, marks, strict=True):
        for ending in endings:
            crop = os.path.join(target, folder, f"{stem}{ending}.png")
            if crop in inputs:
                raise InputError(f"the crop {crop} would be written over an image of the source; give another --out")


def read_source(source: Path, unpacked: Path, landmarks: Path | None = None) -> Manifest:
    """Read a folder, a manifest or a .tar of images, and join landmarks to it.

    Raises:
        InputError: The archive holds no or several top folders, or no image has landmarks.
    """
    manifest = read_manifest(unpack(source, unpacked))
    return manifest if landmarks is None else with_landmarks(manifest, landmarks)


def with_landmarks(manifest: Manifest, path: Path) -> Manifest:
    """Keep the images that a `.npz` has `names` and `landmarks` (N, 5, 2) of, with a column `landmarks`.

    Raises:
        InputError: The file cannot be read, or has none of the images.
    """
    names, found = read_by_name(path, {"landmarks": (5, 2)})
    points = dict(zip(names, found["landmarks"].reshape(-1, 10).tolist(), strict=True))
    rows = [{**row, "landmarks": points[row["path"]]} for row in manifest.table.to_pylist() if row["path"] in points]
    if not rows:
        raise InputError(f"{path} has landmarks of none of the images, first {manifest.paths[0]!r}")
    if len(rows) < len(manifest):
        logger.warning("%d images have no landmarks in %s and are left out", len(manifest) - len(rows), path)
    return make_manifest(rows, manifest.root)


def split_people(identities: Iterable[str], settings: PrepareSettings) -> dict[str, str]:
    """Assign every person to train, validation or test; who is where depends on name and seed alone.

    Test people are taken from those with several images, for only these have mated pairs.
    """
    names, counts = np.unique(list(identities), return_counts=True)
    splits = {}
    for name, count in zip(names.tolist(), counts.tolist(), strict=True):
        draw = np.random.default_rng([settings.seed, zlib.crc32(name.encode())]).random(2)
        if count > 1 and draw[0] < settings.test:
            splits[name] = "test"
        else:
            splits[name] = "validation" if draw[1] < settings.validation else "train"
    return splits


def _write_crops(
    manifest: Manifest, row: int, split: str, stem: str, out: Path, settings: PrepareSettings
) -> list[dict[str, Any]]:
    name = manifest.table["path"][row].as_py()
    identity = manifest.table["identity"][row].as_py()
    face = manifest.load_face(row)
    folder = Path(split) / identity
    original = (folder / f"{stem}.png").as_posix()
    copies = settings.test_copies if split == "test" else settings.copies
    rows = []
    for copy in range(copies + 1):
        path, crop = original, face
        damages: list[Damage] = []
        if copy:
            damages, rng = copy_damages(name, copy, copies, settings.seed)
            path, crop = (folder / f"{stem}-{copy}.png").as_posix(), degrade(face, damages, rng)
        _write_png(out / path, crop)
        rows.append(
            {
                "path": path,
                "identity": identity,
                "split": split,
                "original": original,
                "source": name,
                "degradation": describe(damages),
                "degradations_version": VERSION,
            }
        )
    if split == "test":
        for copy in range(1, settings.misaligned + 1):
            path = (folder / f"{stem}-m{copy}.png").as_posix()
            crop, damage = _misaligned(manifest, row, copy, settings)
            _write_png(out / path, crop)
            rows.append({**rows[0], "path": path, "degradation": describe([damage])})
    return rows


def _write_png(path: Path, crop: NDArray[np.uint8]) -> None:
    _, data = cv2.imencode(".png", crop, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    write_file(path, data.tobytes())


def _misaligned(manifest: Manifest, row: int, copy: int, settings: PrepareSettings) -> tuple[NDArray[np.uint8], Damage]:
    path = manifest.table["path"][row].as_py()
    landmarks = manifest.landmarks(row)
    if landmarks is None:
        raise ImageError(f"{path} has no landmarks, so it cannot be misaligned; give --landmarks")
    rng = np.random.default_rng([settings.seed, copy, zlib.crc32(path.encode()), zlib.crc32(MISALIGNED.encode())])
    grade = round(rng.uniform(copy - 1, copy) / settings.misaligned, 3)
    moved = perturb(landmarks, grade * LANDMARK_SHIFT, rng, scaled=True)
    return align(load_image(manifest.root / path), moved), (MISALIGNED, grade)


def copy_damages(name: str, copy: int, copies: int, seed: int) -> tuple[list[Damage], np.random.Generator]:
    """Return the damages of a copy of an image, and the random numbers for `degrade`; always the same ones.

    Args:
        name: Path of the image, relative to the source's folder.
        copy: Which copy, 1 .. copies.
        copies: How many there are of this image.
        seed: See `PrepareSettings`.
    """
    rng = np.random.default_rng([seed, copy, zlib.crc32(name.encode())])
    return draw_damages(((copy - 1) / copies, copy / copies), rng), rng
