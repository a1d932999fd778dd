"""PNG: size and cost, and the chunks that make the picture."""

import struct
import zlib

from sdk.errors import ImageError
from sdk.images.headers.header import DAMAGED, MOST_PARTS, Header

_PARTS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"})
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Channels by colour type."""

_MOST_RATIO = 1032
"""Most bytes that deflate can unpack from one."""

_HARMLESS = 1 << 31
"""Bytes that are unpacked in 2 s."""

_STEP = 1 << 14


def read_png(data: bytes) -> Header:
    """Read a PNG; keep only the chunks that make the picture.

    OpenCV takes memory for the size that a chunk claims. libpng unpacks texts and profiles, which may be huge.

    Raises:
        ImageError: The file is ambiguous or damaged, or unpacks to too much.
        struct.error: It ends within its header.
    """
    if data[8:16] != b"\0\0\0\rIHDR":
        raise ImageError(f"the PNG does not begin with its header; it is damaged: {DAMAGED}")
    width, height = struct.unpack_from(">II", data, 16)
    view = memoryview(data)
    parts: list[memoryview] = []
    pieces: list[memoryview] = []
    seen: set[bytes] = set()
    start, position = 0, 8  # bytes from `start` to `position` are kept, but not yet in `parts`
    complete = False
    for _ in range(MOST_PARTS):
        if complete or position + 12 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        if kind == b"IHDR" and kind in seen:
            raise ImageError(f"the PNG has two headers; it is damaged: {DAMAGED}")
        if kind not in _PARTS or (kind == b"eXIf" and kind in seen):
            parts.append(view[start:position])
            start = end
        elif kind == b"IDAT":
            pieces.append(view[position + 8 : end - 4])
        seen.add(kind)
        complete = kind == b"IEND"
        position = end
    else:
        raise ImageError(f"the PNG has more than {MOST_PARTS:,} chunks; save it again")
    parts.append(view[start:position])
    if complete:
        _check_png_pixels(pieces, width, height, data[24], data[25])
    return Header("PNG", width, height, complete, 6 * width * height, b"".join(parts))


def _check_png_pixels(pieces: list[memoryview], width: int, height: int, depth: int, colour: int) -> None:
    """Refuse pixel data that unpack to far more than the picture: OpenCV would unpack all of them."""
    if _MOST_RATIO * sum(map(len, pieces)) < _HARMLESS:
        return
    wanted = _HARMLESS // 64 + 4 * height + width * height * depth * _CHANNELS.get(colour, 1) // 8
    inflater = zlib.decompressobj()
    unpacked = 0
    for part in (piece[start : start + _STEP] for piece in pieces for start in range(0, len(piece), _STEP)):
        try:
            unpacked += len(inflater.decompress(part))
        except zlib.error as error:
            raise ImageError(f"the PNG's pixels are damaged ({error}); {DAMAGED}") from error
        if unpacked > wanted:
            raise ImageError(f"the PNG's pixels unpack to more than {width} x {height}; it is damaged: {DAMAGED}")
        if inflater.eof:  # the decoder does not unpack what follows
            return
