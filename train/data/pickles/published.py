"""Pickles that the published repositories write and read: scores, training items, embeddings, landmarks, clusterings.

Nothing in them is executed, see `train.data.pickles.unpickling`.
"""

import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdk.errors import InputError
from sdk.files import read_file, write_file
from sdk.text import shortened
from train.data.pickles.unpickling import Array, read_pickle

SUFFIXES = (".pkl", ".pickle")

SCORE = "quality"
"""Column of the scores of a pickle."""

LARGEST = 8 << 30
"""Most bytes of a pickle: embeddings of VGGFace2 have 7 GB."""

MOST_STEPS = 200_000_000
"""Most instructions; a score takes ten, and VGGFace2 has 3.3 million."""

_ADVICE = "give a pickle as the repositories write it, or a .csv"


def is_pickle(path: Path) -> bool:
    """Tell whether a path is named as a pickle."""
    return path.suffix.lower() in SUFFIXES


def read_scores(path: Path) -> pa.Table:
    """Read scores, `{path: score}` or a list of `(path, score)`, or training items, a list of `(path, score, class)`.

    Returns:
        Columns `path` and `quality`; of training items also `identity`, the class as text.

    Raises:
        InputError: The file cannot be read, holds something else, or names an image twice.
    """
    found = _read(path)
    rows: Iterable[Any] = found.items() if isinstance(found, dict) else found
    if not isinstance(found, dict | list) or not found:
        raise _wrong(path, found, "scores: {path: score}, or a list of (path, score)")
    names, scores, classes = [], [], []
    for row in rows:
        if not isinstance(row, tuple | list) or len(row) not in (2, 3):
            raise _wrong(path, row, "(path, score) or (path, score, class) in its list")
        names.append(_name(row[0], path))
        scores.append(_number(row[1], names[-1], path))
        classes += [str(part) for part in row[2:]]
    if len(set(names)) < len(names):
        raise InputError(f"{path} names an image twice, wanted one score an image")
    if len(classes) not in (0, len(names)):
        raise InputError(f"{path} has a class for {len(classes)} of {len(names)} images, wanted all or none")
    columns = {"path": pa.array(names, pa.string()), SCORE: pa.array(scores, pa.float64(), from_pandas=True)}
    return pa.table({**columns, **({"identity": pa.array(classes, pa.string())} if classes else {})})


def read_vectors(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Read embeddings, `{path: embedding}`.

    Returns:
        The names, and float32 (N, D).

    Raises:
        InputError: The file cannot be read, holds something else, or has embeddings of several lengths.
    """
    found = _mapping(path, "embeddings: {path: embedding}")
    names = [_name(name, path) for name in found]
    first = _values(next(iter(found.values())), names[0], path)
    vectors = np.empty((len(names), first.size), np.float32)
    for row, (name, value) in enumerate(zip(names, found.values(), strict=True)):
        vector = _values(value, name, path)
        if vector.size != first.size:
            raise InputError(
                f"{path} has {vector.size} numbers for {shortened(name)!r} and {first.size} for "
                f"{shortened(names[0])!r}, wanted embeddings of one model"
            )
        vectors[row] = vector
    return names, vectors


def read_landmarks(path: Path) -> tuple[list[str], list[list[float]]]:
    """Read landmarks, `{path: landmarks}` or `{path: (box, landmarks)}`.

    Returns:
        The names, and the ten numbers `x1 y1 ... x5 y5` of each.

    Raises:
        InputError: The file cannot be read or holds something else.
    """
    found = _mapping(path, "landmarks: {path: landmarks (5, 2)}")
    names, landmarks = [_name(name, path) for name in found], []
    for name, value in zip(names, found.values(), strict=True):
        paired = isinstance(value, tuple | list) and len(value) == 2
        points = _values(value[1] if paired else value, name, path)
        if points.size != 10:
            raise InputError(f"{path} has {points.size} numbers for {shortened(name)!r}, wanted landmarks (5, 2)")
        landmarks.append(points.astype(np.float64).tolist())
    return names, landmarks


def read_clusters(path: Path) -> dict[str, int]:
    """Read a clustering, `{identity: {cluster: [paths]}}`.

    Returns:
        A number for each image, which is the same for images of one cluster.

    Raises:
        InputError: The file cannot be read, holds something else, or has an image in two clusters.
    """
    found = _mapping(path, "a clustering: {identity: {cluster: [paths]}}")
    result: dict[str, int] = {}
    number = 0
    for clusters in found.values():
        if not isinstance(clusters, dict):
            raise _wrong(path, clusters, "{cluster: [paths]} for each identity")
        for images in clusters.values():
            if not isinstance(images, list | tuple | set):
                raise _wrong(path, images, "a list of paths for each cluster")
            for image in images:
                name = _name(image, path)
                if result.setdefault(name, number) != number:
                    raise InputError(f"{path} has {shortened(name)!r} in two clusters, wanted one")
            number += 1
    return result


def write_scores(path: Path, names: Sequence[str], scores: Sequence[float | None]) -> None:
    """Write scores as the repositories do, `{path: score}`. Images without a score are left out.

    Raises:
        InputError: The file cannot be written there.
        OutputError: The disk is full.
    """
    write_file(path, pickle.dumps({n: s for n, s in zip(names, scores, strict=True) if s is not None}, protocol=4))


def _read(path: Path) -> Any:
    try:
        return read_pickle(read_file(path, InputError, _ADVICE, LARGEST), MOST_STEPS)
    except InputError as error:
        if str(path) in str(error):
            raise
        raise InputError(f"{path}: {error}; {_ADVICE}") from error


def _mapping(path: Path, wanted: str) -> Mapping[Any, Any]:
    found = _read(path)
    if not isinstance(found, dict) or not found:
        raise _wrong(path, found, wanted)
    return found


def _wrong(path: Path, found: Any, wanted: str) -> InputError:
    empty = isinstance(found, dict | list | tuple) and not found
    what = f"an empty {type(found).__name__}" if empty else f"something else ({type(found).__name__})"
    return InputError(f"{path} holds {what}, wanted {wanted}")


def _name(name: Any, path: Path) -> str:
    if not isinstance(name, str) or not name:
        raise InputError(f"{path} has {shortened(repr(name))} as an image, wanted the name of one")
    return name


def _number(value: Any, name: str, path: Path) -> float:
    if isinstance(value, Array):
        values = _values(value, name, path)
        value = values.flat[0].item() if values.size == 1 else value
    if not isinstance(value, int | float):
        raise InputError(f"{path} has no number for {shortened(name)!r} ({type(value).__name__})")
    return float(value)


def _values(value: Any, name: str, path: Path) -> NDArray[Any]:
    """Return numbers (n,) of an array, or of a list of numbers or of lists of them."""
    try:
        if isinstance(value, list | tuple):
            found: NDArray[Any] = np.array([_flat(part) for part in value], np.float64).reshape(-1)
        else:
            found = value.values().reshape(-1)
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise InputError(f"{path} has no array of numbers for {shortened(name)!r}: {shortened(error)}") from error
    if not found.size:
        raise InputError(f"{path} has an empty array for {shortened(name)!r}")
    return found


def _flat(part: Any) -> Any:
    return part.values() if isinstance(part, Array) else part
