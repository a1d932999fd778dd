"""The `.bin` of insightface: a pickle of encoded images, and of a decision for each two: one person or not.

A pickle can run any code. So the file is read by `train.data.pickles.unpickling`, which runs none.
"""

import hashlib
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sdk.errors import ImageError, InputError
from sdk.files import make_folder, read_file, write_errors, write_file
from sdk.images.decoding import load_image
from train.data.manifest import write_table
from train.data.pickles.unpickling import Array, read_pickle

logger = logging.getLogger(__name__)

FACE = (112, 112, 3)

LARGEST = 4 << 30
"""Most bytes of a file."""

_ADVICE = "copy or download the .bin again"


def unpack_bin(path: Path, out: Path) -> Path:
    """Write the images and the pairs of a `.bin` into a folder.

    An image of several pairs is in the file several times, and is written once. The file names no people: images that
    mated pairs connect are one person.

    Args:
        path: The `.bin`.
        out: Folder for the new folder, which is named by the file and its content. If it is there, it is used again.

    Returns:
        The new folder: images, `manifest.csv` (path, identity) and `pairs.csv` (a, b, mated).

    Raises:
        InputError: The file is truncated, holds something else, or has images that are not 112 x 112.
        OutputError: The disk is full.
    """
    if not os.path.lexists(path):
        raise InputError(f"no file at {path}; give a .bin of insightface")
    data = read_file(path, InputError, _ADVICE, LARGEST)
    digest = hashlib.sha256(data).hexdigest()
    folder = out / f"{path.stem}-{digest[:12]}"
    if folder.exists():
        logger.info("%s is there already", folder)
        return folder
    images, mated = _parse(data, path)
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        make_folder(temporary)
        _write(images, mated, path, temporary)
        with write_errors(folder):
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _write(images: list[bytes], mated: NDArray[np.bool_], path: Path, folder: Path) -> None:
    indices: dict[bytes, int] = {}
    rows = np.array([indices.setdefault(image, len(indices)) for image in images]).reshape(-1, 2)
    names = []
    for index, image in enumerate(indices):
        try:
            shape = load_image(image).shape
        except ImageError as error:
            raise InputError(f"image {index} of {path}: {error}") from error
        if shape != FACE:
            raise InputError(f"image {index} of {path} is {shape[1]} x {shape[0]}, wanted aligned 112 x 112 crops")
        names.append(f"{index:06d}.{'png' if image.startswith(bytes([0x89])) else 'jpg'}")
        write_file(folder / names[-1], image)
    people = [f"person{code}" for code in _people(rows[mated], len(names))]
    write_table(pa.table({"path": names, "identity": people}), folder / "manifest.csv")
    first, second = ([names[index] for index in column] for column in rows.T)
    write_table(pa.table({"a": first, "b": second, "mated": mated.astype(np.int64)}), folder / "pairs.csv")


def _people(mated: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    graph = coo_array((np.ones(len(mated)), (mated[:, 0], mated[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def read_bin(path: Path) -> tuple[list[bytes], NDArray[np.bool_]]:
    """Read a `.bin`.

    Returns:
        2 M encoded images, those of pair i at 2 i and 2 i + 1; bool (M,), True where a pair is of one person.

    Raises:
        InputError: The file is truncated or holds something else.
    """
    return _parse(read_file(path, InputError, _ADVICE, LARGEST), path)


def _parse(data: bytes, path: Path) -> tuple[list[bytes], NDArray[np.bool_]]:
    try:
        found = read_pickle(data)
    except InputError as error:
        raise InputError(f"{path} is truncated or not insightface's .bin ({error}); {_ADVICE}") from error
    if not isinstance(found, list | tuple) or len(found) != 2:
        raise InputError(f"{path} is not insightface's .bin, wanted a pickle of images and decisions; {_ADVICE}")
    images, mated = found
    if isinstance(mated, Array):
        mated = list(_bytes(mated, "decisions"))
    if not isinstance(images, list | tuple) or not isinstance(mated, list | tuple):
        raise InputError(f"{path} is not insightface's .bin, wanted a list of images and one of decisions; {_ADVICE}")
    encoded: list[bytes] = []
    for index, image in enumerate(images):
        content = _bytes(image, f"image {index}") if isinstance(image, Array) else image
        if not isinstance(content, bytes):
            raise InputError(f"{path} holds a {type(image).__name__} as image {index}, wanted an encoded image's bytes")
        encoded.append(content)
    if not all(isinstance(value, int) for value in mated):
        raise InputError(f"{path} holds decisions that are neither true nor false; {_ADVICE}")
    decisions = [bool(value) for value in mated]
    if len(encoded) != 2 * len(decisions) or not decisions:
        raise InputError(f"{path} has {len(encoded)} images and {len(decisions)} pairs, wanted two images a pair")
    return encoded, np.array(decisions, bool)


def _bytes(array: Array, what: str) -> bytes:
    if array.kind[1:] not in ("b1", "u1"):
        raise InputError(f"the pickle holds an array of {array.kind} as {what}, wanted bytes or booleans")
    return array.data
