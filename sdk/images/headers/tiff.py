"""TIFF: size and cost of the first picture, and the file with only that picture."""

import struct
from math import prod

from sdk.errors import ImageError

MOST_CHUNKS = 1 << 16
"""Most strips or tiles of a picture, because each takes the decoder time."""

_BYTES = {1: 1, 3: 2, 4: 4}
_LETTERS = {1: "B", 3: "H", 4: "I"}

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, ROWS, FORMAT = 256, 257, 258, 259, 262, 277, 278, 339
OFFSETS, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS = 273, 322, 323, 324
PICTURE_TAGS = frozenset(
    {254, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, 266, OFFSETS, 274, SAMPLES, ROWS, 279, 284, 317, 320}
    | {TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, 325, 338, FORMAT, 529, 530, 532}
)
"""Fields that the decoder needs: sizes, positions and coding of the samples, palette, orientation, kind of colours."""

_ONE_NUMBER = frozenset(
    {WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, 266, 274, SAMPLES, ROWS, 284, 317, TILE_WIDTH, TILE_HEIGHT}
)
_COMPRESSIONS = {1: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits"}
_PHOTOMETRICS = frozenset({0, 1, 2, 3, 5, 6})  # grey, RGB, palette, CMYK, YCbCr. Not CIELab: decoding takes a minute
_UNSIGNED, _FLOATING_POINT = 1, 3
_DAMAGED = "it is damaged: copy or download it again"


def read_tiff(data: bytes) -> tuple[int, int, int, bytes]:
    """Read the first directory of a TIFF.

    Returns:
        Width; height; most bytes that decoding takes; the file with a new directory at its end, with `PICTURE_TAGS`
        only.

    Raises:
        ImageError: A field is duplicate, missing or wrong, or the samples are of a kind that is not read.
        struct.error: The file ends within its directory.
    """
    order = "<" if data[:2] == b"II" else ">"
    start = struct.unpack_from(order + "I", data, 4)[0]
    count = struct.unpack_from(order + "H", data, start)[0]
    values: dict[int, tuple[int, ...]] = {}
    kept = []
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, entry)
        if tag not in PICTURE_TAGS:
            continue
        if tag in values:
            raise ImageError(f"the TIFF has its field {tag} twice; {_DAMAGED}")
        values[tag] = _read_values(data, order, entry, tag) if kind in _BYTES else (number,)
        kept.append(data[entry : entry + 12])
    if WIDTH not in values or HEIGHT not in values:
        raise ImageError(f"the TIFF does not say how large it is; {_DAMAGED}")
    width, height = values[WIDTH][0], values[HEIGHT][0]
    memory = 6 * width * height + _chunk_memory(values, width, height)
    directory = struct.pack(order + "H", len(kept)) + b"".join(kept) + bytes(4)
    padding = bytes(len(data) % 2)  # a directory must begin at an even position
    place = struct.pack(order + "I", len(data) + len(padding))
    return width, height, memory, b"".join((data[:4], place, memoryview(data)[8:], padding, directory))


def _read_values(data: bytes, order: str, entry: int, tag: int) -> tuple[int, ...]:
    """Return the first values of a field, 8 at most: as many as a pixel may have samples."""
    kind, number = struct.unpack_from(order + "HI", data, entry + 2)
    if tag in _ONE_NUMBER and number != 1:
        raise ImageError(f"the TIFF's field {tag} holds {number} numbers, wanted 1; {_DAMAGED}")
    place = entry + 8
    if _BYTES[kind] * number > 4:
        place = struct.unpack_from(order + "I", data, place)[0]
    return struct.unpack_from(f"{order}{min(number, 8)}{_LETTERS[kind]}", data, place)


def _chunk_memory(values: dict[int, tuple[int, ...]], width: int, height: int) -> int:
    """Check how the samples are stored.

    Returns:
        Bytes of a strip or tile while it is decoded: its samples, and 4 bytes a pixel.
    """
    samples = values.get(SAMPLES, (1,))[0]
    bits = values.get(BITS, (1,))
    formats = values.get(FORMAT, (_UNSIGNED,))
    compression = values.get(COMPRESSION, (1,))[0]
    if _FLOATING_POINT in formats:
        raise ImageError(
            "the TIFF image holds floating-point numbers, wanted integers of 8 or 16 bits; scale it and save it again, "
            "for nothing says whether white is 1 or 255"
        )
    if set(formats) != {_UNSIGNED} or not 1 <= samples <= 8 or len(set(bits)) != 1 or bits[0] not in (1, 2, 4, 8, 16):
        raise ImageError(f"the TIFF holds {samples} samples of {bits} bits, wanted integers of 1 to 16; save it again")
    photometric = values.get(PHOTOMETRIC, (1,))[0]
    if photometric not in _PHOTOMETRICS:
        raise ImageError(
            f"the TIFF's colours are of kind {photometric}, wanted grey, RGB, CMYK or YCbCr; save it again"
        )
    if compression not in _COMPRESSIONS:
        names = ", ".join(dict.fromkeys(_COMPRESSIONS.values()))
        raise ImageError(f"the TIFF is compressed by method {compression}, wanted one of: {names}; save it again")
    if TILE_WIDTH in values or TILE_HEIGHT in values:
        sides = values.get(TILE_WIDTH, (0,))[0], values.get(TILE_HEIGHT, (0,))[0]
    else:
        sides = width, min(values.get(ROWS, (height,))[0], height)
    if not all(sides):
        raise ImageError(f"the TIFF's parts are {sides[0]} x {sides[1]}; {_DAMAGED}")
    chunks = -(-width // sides[0]) * -(-height // sides[1]) * samples
    if chunks > MOST_CHUNKS * samples:
        raise ImageError(f"the TIFF has {chunks:,} strips or tiles, wanted at most {MOST_CHUNKS:,}; save it again")
    return prod(sides) * (4 + -(-samples * bits[0] // 8))
