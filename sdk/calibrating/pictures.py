"""Pictures of people, and what a calibration needs of them: a score and an embedding of a face of each."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdk.decision.calibrate import Measured
from sdk.detection.meant import meant_face
from sdk.errors import ImageError, InputError, ScoreError
from sdk.files import read_text
from sdk.images.decoding import load_image
from sdk.images.folders import images_below
from sdk.results_io.scoring import NO_FACE, NO_MEMORY, map_files
from sdk.scorer import QualityScorer
from sdk.text import count

Features = tuple[float, NDArray[np.float32] | None]
"""Score and embedding of a face."""

Embed = Callable[[int, NDArray[np.uint8]], NDArray[np.float32]]
"""Takes the index of a picture and its aligned face, uint8 BGR (112, 112, 3); returns the embedding (D,)."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures, and whose they are.

    Attributes:
        paths: Files.
        people: Person of each file; empty where nobody is named.
    """

    paths: Sequence[Path]
    people: Sequence[str] = ()


def read_pictures(source: Path) -> Pictures:
    """Read a folder with a folder a person, a folder of pictures, or a manifest (.csv) with `path` and `identity`.

    Raises:
        InputError: There is no picture, or the manifest cannot be read, lacks a column or has a row without a value.
    """
    if source.is_dir():
        paths = images_below(source)
        if not paths:
            raise InputError(f"no image in {source}, wanted pictures, in a folder a person where people are known")
        folders = [path.relative_to(source).parts[:-1] for path in paths]
        named = all(folders)
        return Pictures(paths, ["/".join(parts) for parts in folders] if named else ())
    if source.suffix.lower() != ".csv":
        raise InputError(f"{source} is neither a folder nor a .csv manifest; give one of them")
    text = read_text(source, InputError, "give a manifest with the columns path and identity")
    table = csv.DictReader(text.splitlines())
    rows, columns = list(table), [name for name in ("path", "identity") if name in (table.fieldnames or ())]
    if "path" not in columns or not rows:
        found = ", ".join(table.fieldnames or ("none",))
        raise InputError(f"{source} has {count('row', len(rows))} and the columns {found}; wanted path and identity")
    for number, row in enumerate(rows, 1):
        if missing := [name for name in columns if not (row[name] or "").strip()]:
            raise InputError(f"row {number} of {source} has no {missing[0]}; complete it, or leave it out")
    paths = [source.parent / row["path"] for row in rows]
    return Pictures(paths, [row["identity"] for row in rows] if "identity" in columns else ())


def measure(
    pictures: Pictures, scorer: QualityScorer, embed: Embed | None, aligned: bool, advance: Callable[[int], None]
) -> tuple[Measured, list[str]]:
    """Score the face of each picture that is meant, see `sdk.detection.meant`, and embed it.

    Args:
        pictures: See `Pictures`.
        scorer: Scores, on as many threads as it has.
        embed: Several threads call it; None for scores alone.
        aligned: The pictures are aligned crops.
        advance: Called with 1 after each picture.

    Returns:
        What was measured, in the order of the pictures; and a line for each picture that was left out.
    """

    def one(numbered: tuple[int, Path]) -> Features | str:
        number, path = numbered
        try:
            image = load_image(path, max_pixels=scorer.max_pixels, max_bytes=scorer.max_bytes)
            if aligned:
                score, crop = scorer.score(image), image
            else:
                faces = scorer.assess(image)
                if not faces:
                    return f"{path}: {NO_FACE}"
                face = meant_face(faces, *image.shape[:2])
                score, crop = face.score, face.crop
            return score, None if embed is None else embed(number, crop)
        except MemoryError:
            return f"{path}: {NO_MEMORY}"
        except (ImageError, ScoreError) as error:
            return str(error) if str(path) in str(error) else f"{path}: {error}"

    scores: list[float] = []
    people: list[str] = []
    vectors: list[NDArray[np.float32]] = []
    left_out: list[str] = []
    named = pictures.people or [""] * len(pictures.paths)
    for person, found in zip(named, map_files(scorer.threads, one, enumerate(pictures.paths)), strict=True):
        advance(1)
        if isinstance(found, str):
            left_out.append(found)
            continue
        scores.append(found[0])
        people.append(person)
        if found[1] is not None:
            vectors.append(found[1])
    embeddings = np.stack(vectors) if vectors else None
    return Measured(np.array(scores, np.float64), people if pictures.people else (), embeddings), left_out


def check_names(pictures: Pictures, source: Path) -> None:
    """Refuse pictures without names.

    Raises:
        InputError: Nobody is named.
    """
    if not pictures.people:
        raise InputError(
            f"{source} names no people: some pictures are in no folder of their own, or the manifest has no column "
            "identity; sort them into a folder a person, or choose by --discard 0.05"
        )
