"""Insightface's `.bin`: a pickle of (encoded images, whether each two of them are of one person).

A pickle can run any code, so this one is read by an unpickler that knows lists, tuples, bytes, booleans and arrays of
bytes or booleans, and refuses every other name.
"""

import hashlib
import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sdk.errors import ImageError, InputError
from sdk.files import make_folder, write_errors
from sdk.images import load_image
from train.data.manifest import write_table

logger = logging.getLogger(__name__)

FACE = (112, 112, 3)


def unpack_bin(path: Path, out: Path) -> Path:
    """Write the images and the pairs of a `.bin` as a folder.

    An image that takes part in several pairs is stored as often in the file, and once here. The file has no names; who
    is of whom is taken from its mated pairs: images that these connect are one person.

    Args:
        path: The `.bin`.
        out: Folder in which a folder is made, named by the file and its content. It is used again if it is there.

    Returns:
        That folder: images, `manifest.csv` (path, identity) and `pairs.csv` (a, b, mated).

    Raises:
        InputError: The file is truncated, holds something else, or not two 112 x 112 images a pair.
        OutputError: The disk is full.
    """
    if not path.is_file():
        raise InputError(f"no file at {path}; give a .bin of insightface")
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    folder = out / f"{path.stem}-{digest[:12]}"
    if folder.exists():
        logger.info("%s is there already", folder)
        return folder
    images, mated = read_bin(path)
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    make_folder(temporary)
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
        with write_errors(temporary / names[-1]):
            (temporary / names[-1]).write_bytes(image)
    people = [f"person{code}" for code in _people(rows[mated], len(names))]
    write_table(pa.table({"path": names, "identity": people}), temporary / "manifest.csv")
    first, second = ([names[index] for index in column] for column in rows.T)
    write_table(pa.table({"a": first, "b": second, "mated": mated.astype(np.int64)}), temporary / "pairs.csv")
    temporary.rename(folder)
    return folder


def _people(mated: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    graph = coo_array((np.ones(len(mated)), (mated[:, 0], mated[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def read_bin(path: Path) -> tuple[list[bytes], NDArray[np.bool_]]:
    """Read a `.bin`.

    Returns:
        2 M encoded images, the i-th pair at 2 i and 2 i + 1; (M,) whether a pair is of one person.

    Raises:
        InputError: The file is truncated or holds something else.
    """
    try:
        with path.open("rb") as file:
            images, mated = _Unpickler(file).load()
        encoded = [_plain(image).tobytes() if isinstance(image, _Array) else image for image in images]
        decisions = [bool(value) for value in (_plain(mated) if isinstance(mated, _Array) else mated)]
    except Exception as error:  # a damaged pickle can fail in any way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path} is truncated or not insightface's .bin ({reason}); copy or download it again"
        ) from error
    if not all(isinstance(image, bytes) for image in encoded):
        raise InputError(f"{path} holds a {type(encoded[0]).__name__} as an image, wanted an encoded image's bytes")
    if len(encoded) != 2 * len(decisions) or not decisions:
        raise InputError(f"{path} has {len(encoded)} images and {len(decisions)} pairs, wanted two images a pair")
    return encoded, np.array(decisions, bool)


class _Type:
    """Stands for a NumPy dtype while unpickling."""

    def __init__(self, name: str | bytes, *_: Any) -> None:
        self.name = name.decode() if isinstance(name, bytes) else name
        if self.name not in ("b1", "u1"):
            raise pickle.UnpicklingError(f"an array of {self.name!r}, wanted bytes or booleans")

    def __setstate__(self, state: Any) -> None: ...


class _Array:
    """Stands for a NumPy array while unpickling, so that a file drives no code of NumPy's."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Type, bool, bytes]) -> None:
        self.data = bytes(state[4])


def _plain(array: _Array) -> NDArray[np.uint8]:
    return np.frombuffer(array.data, np.uint8)


def _encode(text: str, encoding: str) -> bytes:
    """How older pickle protocols write bytes."""
    return text.encode(encoding)


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _KNOWN[_module, "_reconstruct"] = lambda *_: _Array()
    _KNOWN[_module, "scalar"] = lambda _, data: bytes(data) != b"\0"
for _module in ("numpy.core.numeric", "numpy._core.numeric"):
    _KNOWN[_module, "_frombuffer"] = lambda data, *_: _Array(bytes(data))


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="bytes")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is refused")
        return _KNOWN[module, name]
