"""Make aligned crops and graded damaged copies of images, split by person.

Writes `<out>/<split>/<identity>/<image>.png` and `manifest.csv`, so that the crops can be looked at and labelled,
trained on and evaluated like any other folder of faces. Faces of photos without landmarks are detected.
"""

import logging
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.alignment import Border, align, check_border
from sdk.commands.console import progress_bar
from sdk.errors import ImageError, InputError
from sdk.files import check_outputs, make_folder, write_file, write_json
from sdk.parallel import bounded_map
from train.data.crops import crop_stems, picture_edge, share_outside
from train.data.manifest import Manifest, make_manifest, write_table
from train.data.sources.photos import NoFaceError, Photo, PhotoReader
from train.data.sources.prepared import Prepared, PreparedJournal, write_report
from train.data.sources.source import SOURCE_SETTINGS, Source, joined, read_source, unpacked
from train.degradations.graded import LANDMARK_SHIFT, MISALIGNED, VERSION, Damage, degrade, describe, draw_damages
from train.degradations.landmarks import perturb
from train.lock import locked
from train.recipes import check_least, settings_from
from train.run_state import RunRecord, digest, read_record

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
        border: What crops show outside their image, see `sdk.align`.
        detector: Finds the faces of photos without landmarks, see `train.data.sources.photos`.
        aligned: Take images without landmarks as aligned crops of any size.
    """

    copies: int = 3
    test_copies: int = 1
    misaligned: int = 0
    test: float = 0.4
    validation: float = 0.05
    seed: int = 0
    border: Border = "black"
    detector: str = "fiqa-detector"
    aligned: bool = False

    def __post_init__(self) -> None:
        check_border(self.border)
        check_least(self, 0, "copies", "test_copies", "misaligned", "seed")
        for name in ("test", "validation"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}, wanted a share from 0 to 1")


def prepare(sources: Sequence[Source], out: Path, settings: PrepareSettings) -> Path:
    """Make crops, copies and their manifest. A run that was stopped goes on when it is started again.

    An image that cannot be read, or shows no face, is left out: the log says how many, `left-out.csv` names them.

    Args:
        sources: Where the images come from, one or several.
        out: Folder to write.
        settings: See `PrepareSettings`.

    Returns:
        Path of `manifest.csv`: path, identity, split (train, validation, test), original (the clean crop's path),
        source (the image that the crop was cut from, see `train.data.sources.source.joined`), outside (the share of
        the clean crop that lies outside the image, see `share_outside`), edge (where there is such a share, the image's
        corners in the clean crop, see `picture_edge`), degradation (empty for a clean crop) and
        degradations_version (see `train.degradations.graded.VERSION`). Where it exists already, nothing is done;
        `prepare.json` beside it keeps the settings and the names of sources and landmarks. `landmarks.csv` has the
        landmarks that were detected, by `source`, and the number of faces in each photo.

    Raises:
        InputError: A source cannot be read or holds no face, the crops in the folder were made with other settings, or
            another run is writing there.
        ModelError: The detector cannot be loaded.
        OutputError: The disk is full; started again, the run goes on.
    """
    check_outputs({"--out": out}, [source.source for source in sources])
    check_outputs({"--out": out / "manifest.csv"}, [file for source in sources for file in source.files])
    make_folder(out)
    with locked(out):
        return _prepare(sources, out, settings)


def _prepare(sources: Sequence[Source], out: Path, settings: PrepareSettings) -> Path:
    target, kept = out / "manifest.csv", out / "prepare.json"
    record = RunRecord({**asdict(settings), "sources": [source.names for source in sources]})
    if target.exists():
        _check_same(record, kept)
        logger.info("%s is there already", target)
        return target
    manifest = joined([_outside(read_source(source), out) for source in unpacked(sources, out)])
    identities = manifest.identities
    splits = split_people(identities, settings)
    folders = [f"{splits[identity]}/{identity}" for identity in identities]
    marks = {split: _marks(split, settings) for split in set(splits.values())}
    marks_of = [marks[splits[identity]] for identity in identities]
    names = manifest.column("source")
    stems = crop_stems(names, folders, marks_of)
    _check_inputs_stay(manifest, out, folders, stems, marks_of)
    reader = PhotoReader(manifest, settings.detector, settings.aligned)

    def crops_of(row: int) -> Prepared:
        try:
            photo = reader.read(row)
            rows = _write_crops(photo, names[row], identities[row], splits[identities[row]], stems[row], out, settings)
        except ImageError as error:
            return Prepared(names[row], error=str(error), faceless=isinstance(error, NoFaceError))
        found = photo.landmarks.ravel().tolist() if photo.landmarks is not None and photo.found else ()
        return Prepared(names[row], rows, found, photo.found)

    begun = RunRecord(record.settings, {"images": digest(_described(manifest))})
    with PreparedJournal(out / "prepare.journal", begun, names) as journal:
        left = [row for row in range(len(manifest)) if row not in journal.done]
        if len(left) < len(manifest):
            logger.info("%d of %d images are done already", len(manifest) - len(left), len(manifest))
        with ThreadPoolExecutor() as pool, progress_bar("crops", len(manifest)) as advance:
            advance(len(manifest) - len(left))
            for row, made in zip(left, bounded_map(pool, crops_of, left, 64), strict=True):
                journal.add(row, made)
                advance(1)
        done = [journal.done[row] for row in range(len(manifest))]
        write_report(done, out)
        rows = [row for prepared in done for row in prepared.rows]
        if not rows:
            journal.remove()
            named = ", ".join(str(source.source) for source in sources)
            raise InputError(f"no image of {named} can be used; the first one: {done[0].error}")
        write_json(kept, record.as_dict())
        write_table(make_manifest(rows, out).table, target)
        journal.remove()
    return target


def _described(manifest: Manifest) -> Iterator[str]:
    """Give what is known of each image: a journal goes on only with the same."""
    columns = [name for name in ("source", "identity", "landmarks") if name in manifest.table.column_names]
    for values in zip(*(manifest.column(name) for name in columns), strict=True):
        yield f"{values}\n"


def _check_same(record: RunRecord, path: Path) -> None:
    if path.exists():
        known = {**asdict(PrepareSettings()), **read_record(path)}  # a setting that is newer than the file
        record.check(known, path, "give another --out")
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


def prepare_settings(section: Mapping[str, Any] | None) -> PrepareSettings:
    """Read a recipe's section `prepare`, all of it but the sources, see `train.data.sources.source.sources_of_recipe`.

    Raises:
        InputError: It has an unknown setting, or a value of another kind.
    """
    own = {name: value for name, value in (section or {}).items() if name not in SOURCE_SETTINGS}
    return settings_from(PrepareSettings, own)


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
    photo: Photo, name: str, identity: str, split: str, stem: str, out: Path, settings: PrepareSettings
) -> list[dict[str, Any]]:
    """Write an image's crops, and return their rows of the manifest."""
    image, landmarks = photo.image, photo.landmarks
    outside, edge = 0.0, ""
    if landmarks is not None and (outside := share_outside(landmarks, *image.shape[:2])):
        edge = " ".join(map(str, picture_edge(landmarks, *image.shape[:2])))
    folder = Path(split) / identity
    common = {
        "identity": identity,
        "split": split,
        "original": (folder / f"{stem}.png").as_posix(),
        "source": name,
        "outside": round(outside, 4),
        "edge": edge,
    }
    rows = []
    for mark, crop, damages in _crops(image, landmarks, name, split, settings):
        path = (folder / f"{stem}{mark}.png").as_posix()
        _write_png(out / path, crop)
        rows.append({"path": path, **common, "degradation": describe(damages), "degradations_version": VERSION})
    return rows


def _crops(
    image: NDArray[np.uint8], landmarks: NDArray[np.float64] | None, name: str, split: str, settings: PrepareSettings
) -> Iterator[tuple[str, NDArray[np.uint8], list[Damage]]]:
    """Give the ending of the name, the pixels and the damage of each of an image's crops; the clean one is first."""
    face = image if landmarks is None else align(image, landmarks, border=settings.border)
    yield "", face, []
    copies = settings.test_copies if split == "test" else settings.copies
    for copy in range(1, copies + 1):
        damages, rng = copy_damages(name, copy, copies, settings.seed)
        yield f"-{copy}", degrade(face, damages, rng), damages
    for copy in range(1, settings.misaligned + 1 if split == "test" else 1):
        if landmarks is None:
            raise ImageError(f"{name} has no landmarks, so it cannot be misaligned; give --landmarks")
        moved, damage = _misaligned(landmarks, name, copy, settings)
        yield f"-m{copy}", align(image, moved, border=settings.border), [damage]


def _misaligned(
    landmarks: NDArray[np.float64], name: str, copy: int, settings: PrepareSettings
) -> tuple[NDArray[np.float64], Damage]:
    """Return the wrong landmarks of a misaligned copy, and how wrong they are."""
    rng = np.random.default_rng([settings.seed, copy, zlib.crc32(name.encode()), zlib.crc32(MISALIGNED.encode())])
    grade = round(rng.uniform(copy - 1, copy) / settings.misaligned, 3)
    return perturb(landmarks, grade * LANDMARK_SHIFT, rng, scaled=True), (MISALIGNED, grade)


def _write_png(path: Path, crop: NDArray[np.uint8]) -> None:
    _, data = cv2.imencode(".png", crop, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    write_file(path, data.tobytes())


def copy_damages(name: str, copy: int, copies: int, seed: int) -> tuple[list[Damage], np.random.Generator]:
    """Return the damages of a copy of an image, and the random numbers for `degrade`; always the same ones.

    Args:
        name: Of the image, see `train.data.sources.source.joined`.
        copy: Which copy, 1 .. copies.
        copies: How many there are of this image.
        seed: See `PrepareSettings`.
    """
    rng = np.random.default_rng([seed, copy, zlib.crc32(name.encode())])
    return draw_damages(((copy - 1) / copies, copy / copies), rng), rng
