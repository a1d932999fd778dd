"""Images -> aligned crops and graded damaged copies, split by person.

Writes `<out>/<split>/<identity>/<image>.png` and `manifest.csv`, so that the crops can be looked at and labelled,
trained on and evaluated like any other folder of faces.
"""

import json
import logging
import shutil
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.alignment import align
from sdk.console import progress_bar
from sdk.errors import ImageError, InputError
from sdk.files import make_folder, write_errors, write_json
from sdk.images import load_image
from train.data.degradations import LANDMARK_SHIFT, MISALIGNED, VERSION, Damage, degrade, describe, draw_damages
from train.data.embeddings import read_by_name
from train.data.exclusive import exclusive
from train.data.manifest import Manifest, make_manifest, read_manifest, write_table
from train.data.perturbation import perturb

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
        for name in ("copies", "test_copies", "misaligned"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}, wanted 0 or more")
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
        (see `train.data.degradations.VERSION`). Where it exists already, nothing is done; `prepare.json` beside it
        keeps the settings and the names of source and landmarks.

    Raises:
        InputError: The source cannot be read or holds no image with landmarks, the crops in the folder were made with
            other settings, or another run is writing there.
        OutputError: The disk is full; started again, the run begins anew.
    """
    make_folder(out)
    with exclusive(out):
        return _prepare(source, out, settings, landmarks)


def _prepare(source: Path, out: Path, settings: PrepareSettings, landmarks: Path | None) -> Path:
    target, kept = out / "manifest.csv", out / "prepare.json"
    decides = {**asdict(settings), "source": source.name, "landmarks": landmarks and landmarks.name}
    if target.exists():
        _check_same(decides, kept)
        logger.info("%s is there already", target)
        return target
    manifest = read_source(source, out / "images", landmarks)
    identities = manifest.identities
    splits = split_people(identities, settings)
    _check_unique([f"{identity}/{Path(path).stem}" for identity, path in zip(identities, manifest.paths, strict=True)])

    def crops_of(row: int) -> list[dict[str, Any]]:
        try:
            return _write_crops(manifest, row, splits[identities[row]], out, settings)
        except ImageError as error:
            logger.warning("left out: %s", error)
            return []

    with ThreadPoolExecutor() as pool, progress_bar("crops", len(manifest)) as advance:
        rows = []
        for made in pool.map(crops_of, range(len(manifest))):
            rows += made
            advance(1)
    if not rows:
        raise InputError(f"no image of {source} could be read; see the log for each one's reason")
    write_json(kept, decides)
    write_table(make_manifest(rows, out).table, target)
    return target


def _check_same(decides: dict[str, Any], path: Path) -> None:
    if not path.exists():
        logger.warning("%s is gone, so nothing says how the crops beside it were made", path)
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    for name, value in decides.items():
        if found.get(name) != value:
            raise InputError(
                f"{path.parent} has crops that were made with {name}={found.get(name)!r}, this run has "
                f"{name}={value!r}; give another --out"
            )


def read_source(source: Path, unpacked: Path, landmarks: Path | None = None) -> Manifest:
    """Read a folder, a manifest or a .tar of images, and join landmarks to it.

    Raises:
        InputError: The archive holds no or several top folders, or no image has landmarks.
    """
    manifest = read_manifest(unpack(source, unpacked))
    return manifest if landmarks is None else with_landmarks(manifest, landmarks)


def unpack(source: Path, unpacked: Path) -> Path:
    """The top folder of a .tar, unpacked where it is not yet; any other source is left as it is.

    Raises:
        InputError: The archive is missing or damaged, or holds no or several top folders.
        OutputError: The disk is full.
    """
    if source.suffix != ".tar":
        return source
    if not unpacked.exists():
        temporary = unpacked.with_name(unpacked.name + ".tmp")
        if not source.is_file():
            raise InputError(f"no file at {source}; give a .tar of a folder of images")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            with write_errors(unpacked), tarfile.open(source) as archive:
                archive.extractall(temporary, filter="data")
        except tarfile.TarError as error:
            raise InputError(f"{source} is truncated or not a .tar ({error}); copy or download it again") from error
        temporary.rename(unpacked)
    folders = [path for path in unpacked.iterdir() if path.is_dir()]
    if len(folders) != 1:
        raise InputError(f"{source} holds {len(folders)} top folders, wanted one that holds a folder a person")
    return folders[0]


def with_landmarks(manifest: Manifest, path: Path) -> Manifest:
    """The images that a `.npz` with `names` and `landmarks` (N, 5, 2) knows, with a column `landmarks`.

    Raises:
        InputError: It cannot be read, or knows none of them.
    """
    names, landmarks = read_by_name(path, "landmarks", (5, 2))
    points = dict(zip(names, landmarks.reshape(-1, 10).tolist(), strict=True))
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
    manifest: Manifest, row: int, split: str, out: Path, settings: PrepareSettings
) -> list[dict[str, Any]]:
    name = manifest.table["path"][row].as_py()
    identity = manifest.table["identity"][row].as_py()
    face = manifest.load_face(row)
    folder = Path(split) / identity
    with write_errors(out / folder):
        (out / folder).mkdir(parents=True, exist_ok=True)
    stem = Path(name).stem
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
    with write_errors(path):
        path.write_bytes(data.tobytes())


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
    """What happens to a damaged copy of an image, and the chance with which `degrade` makes it, always the same.

    Args:
        name: Path of the image, relative to the source's folder.
        copy: Which copy, 1 .. copies.
        copies: How many there are of this image.
        seed: See `PrepareSettings`.
    """
    rng = np.random.default_rng([seed, copy, zlib.crc32(name.encode())])
    return draw_damages(((copy - 1) / copies, copy / copies), rng), rng


def _check_unique(names: list[str]) -> None:
    repeated = {name for name, count in Counter(names).items() if count > 1}
    if repeated:
        raise InputError(
            f"two images would become one crop, {min(repeated)}.png; give each image of a person its own name"
        )
