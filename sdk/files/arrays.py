"""Read `.npy` and `.npz` files of unknown origin: check each array before memory is taken for it.

A small archive may unpack to gigabytes, and a short header may claim terabytes. So the header of each array is read
first, and no more is unpacked than the header and the caller allow. Pickles are never read.
"""

import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError
from sdk.files.reading import open_file

Wanted = tuple[str, tuple[int | None, ...]]
"""Allowed letters of `numpy.dtype.kind` (`f`, `iu`, `U`), and the shape, with None for any size."""

_KINDS = {"f": "float", "i": "int", "u": "uint", "U": "text"}

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000
_BLOCK = 1 << 20
_SLACK = 1 << 20
"""Bytes that an archive may have beyond its arrays: names, and the most that compression adds."""

_DESCRIPTION = re.compile(
    r"\s*\{\s*'descr':\s*'([<>|=]?[a-zA-Z]\d{0,10})',\s*'fortran_order':\s*(True|False),"
    r"\s*'shape':\s*\(([\d,\s]*)\)\s*,?\s*\}\s*"
)
"""The header of a `.npy` file. It is matched here, because numpy would evaluate it as Python."""


class _Header(NamedTuple):
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_npz(path: Path, wanted: Mapping[str, Wanted], most: int, advice: str) -> dict[str, NDArray[Any]]:
    """Read arrays of an archive (`numpy.savez`, `numpy.savez_compressed`). Other members are not read.

    Args:
        path: The archive.
        wanted: Type and shape of each array to read, by name.
        most: Largest size of all arrays together in memory, bytes.
        advice: The end of the message: what the user should do.

    Returns:
        The arrays, by name, in the order of `wanted`.

    Raises:
        InputError: The file cannot be read or is damaged; an array is missing, of another type or shape, or too large.
    """
    found: dict[str, NDArray[Any]] = {}
    with open_file(path, InputError, advice) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most + _SLACK:
            raise InputError(f"{path} has {size:,} bytes, wanted at most {most:,}; {advice}")
        try:
            with zipfile.ZipFile(file) as archive:
                for name, want in wanted.items():
                    left = most - sum(array.nbytes for array in found.values())
                    found[name] = _read_member(archive, name, want, left)
        except InputError as error:
            raise InputError(f"{path}: {error}; {advice}") from error
        except (
            zipfile.BadZipFile,
            zlib.error,
            struct.error,
            EOFError,
            ArithmeticError,
            RuntimeError,
            ValueError,
        ) as error:
            raise InputError(f"{path} is a damaged .npz archive, or none ({error}); {advice}") from error
    return found


def open_npy(path: Path, wanted: Wanted, advice: str) -> NDArray[Any]:
    """Map an array of a file (`numpy.save`) into memory, read-only. Its values stay on disk until they are used.

    Args:
        path: The file.
        wanted: Type and shape of the array.
        advice: The end of the message: what the user should do.

    Raises:
        InputError: The file cannot be read or is damaged; the array is of another type or shape, or longer than the
            file.
    """
    with open_file(path, InputError, advice) as file:
        try:
            header = _read_header(file)
            _check(header, wanted)
        except InputError as error:
            raise InputError(f"{path} {error}; {advice}") from error
        start, size = file.tell(), os.fstat(file.fileno()).st_size
        if start + header.size > size:
            raise InputError(f"{path} has {size:,} bytes, its header says {start + header.size:,}; {advice}")
        order = "F" if header.fortran else "C"
        if not header.size:  # an empty array cannot be mapped
            return np.empty(header.shape, header.dtype)
        return np.memmap(file, header.dtype, "r", start, header.shape, order)  # type: ignore[call-overload]


def _read_member(archive: zipfile.ZipFile, name: str, wanted: Wanted, most: int) -> NDArray[Any]:
    try:
        member = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise InputError(f"it holds no array {name!r}") from None
    # With other methods Python unpacks a whole block at once, and nothing limits its size.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{name!r} is packed in another way than numpy does")
    with archive.open(member) as file:
        try:
            header = _read_header(file)
            _check(header, wanted)
        except InputError as error:
            raise InputError(f"{name!r} {error}") from error
        if header.size > most:
            raise InputError(f"{name!r} takes {header.size:,} bytes, wanted at most {most:,}")
        values: NDArray[Any] = np.empty(math.prod(header.shape), header.dtype)
        left = values.view(np.uint8).data
        while block := file.read(min(_BLOCK, len(left))):
            left[: len(block)] = block
            left = left[len(block) :]
        if left or file.read(1):  # this read also compares the archive's checksum
            raise InputError(f"{name!r} has more or fewer bytes than its header says")
    if header.dtype.kind == "U" and (values.view(f"{header.dtype.byteorder}u4") > 0x10FFFF).any():
        raise InputError(f"{name!r} holds text that is none")
    return values.reshape(header.shape, order="F" if header.fortran else "C")


def _read_header(file: BinaryIO | Any) -> _Header:
    """Read the header of an array; afterwards the file is at the first value."""
    start = file.read(8)
    if start[:6] != _MAGIC or start[6:] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise InputError("is no array of numpy (.npy)")
    length = int.from_bytes(file.read(2 if start[6] == 1 else 4), "little")
    text = file.read(min(length, _LONGEST_HEADER)).decode("latin-1")
    found = _DESCRIPTION.fullmatch(text)
    if found is None:
        raise InputError("is an array of objects or records, or its header is damaged")
    try:
        dtype = np.dtype(found[1])
        shape = tuple(int(size) for size in found[3].split(",") if size.strip())
    except (TypeError, ValueError):
        raise InputError(f"has a header that does not fit: {found[0].strip()[:200]}") from None
    return _Header(dtype, shape, found[2] == "True")


def _check(header: _Header, wanted: Wanted) -> None:
    kinds, shape = wanted
    fits = len(header.shape) == len(shape) and all(
        want is None or size == want for size, want in zip(header.shape, shape, strict=True)
    )
    # numpy has no larger sizes, and values of 0 bytes would pass any limit on the size in bytes.
    sound = max(header.shape, default=0) < 1 << 62 and header.dtype.itemsize > 0
    if not fits or not sound or header.dtype.kind not in kinds:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        names = " or ".join(_KINDS[kind] for kind in kinds)
        raise InputError(f"is {header.dtype} {header.shape}, wanted the type {names} and the shape ({sizes})")
