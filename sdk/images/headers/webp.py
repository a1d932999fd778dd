"""WebP: size and cost."""

import struct

from sdk.errors import ImageError
from sdk.images.headers.header import DAMAGED, Header

_MOST_TABLES, _TABLE_BYTES = 1 << 16, 5700
"""Tables of lossless coding: the most, and bytes of one set. A set takes at least 20 bits in the file."""


def read_webp(data: bytes) -> Header:
    """Read the size in the first chunk. libwebp refuses a frame of another size, so it is the picture's.

    Raises:
        ImageError: The first chunk is of an unknown kind.
        struct.error, IndexError: The file ends within its header.
    """
    kind = data[12:16]
    bytes_a_pixel = 6
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        if data[20] & 2:  # animated: two canvases of BGRA
            bytes_a_pixel = 11
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise ImageError(f"the WebP file holds a chunk {kind!r}, wanted VP8, VP8L or VP8X; it is damaged: {DAMAGED}")
    tables = 0
    if b"VP8L" in data or b"ALPH" in data:  # lossless: BGRA and BGR, and a set of tables for each 4 x 4 pixels
        bytes_a_pixel = max(bytes_a_pixel, 8)
        tables = _TABLE_BYTES * min(_MOST_TABLES, width * height // 16, len(data) // 2)
    complete = len(data) >= 8 + struct.unpack_from("<I", data, 4)[0]
    return Header("WebP", width, height, complete, bytes_a_pixel * width * height + tables, data)
