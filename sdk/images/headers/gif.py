"""GIF: size and cost, and the first frame."""

import struct

from sdk.errors import ImageError
from sdk.images.headers.header import DAMAGED, MOST_PARTS, Header


def read_gif(data: bytes) -> Header:
    """Read a GIF; keep only its first frame.

    Raises:
        ImageError: There is no frame, it is larger than the GIF, or has too many blocks.
        struct.error, IndexError: The file ends within its header.
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = colours_end = 13 + _table_bytes(flags)
    control = b""
    for _ in range(MOST_PARTS):
        if data[position] != 0x21:
            break
        end = _skip_blocks(data, position + 2)
        if data[position + 1] == 0xF9:
            control = data[position:end]
        position = end
    if data[position] != 0x2C:
        raise ImageError(f"the GIF has no picture; {DAMAGED}")
    left, top, columns, rows, flags = struct.unpack_from("<HHHHB", data, position + 1)
    if left + columns > width or top + rows > height:
        raise ImageError(f"the GIF's first frame is larger than the GIF; it is damaged: {DAMAGED}")
    end = _skip_blocks(data, position + 10 + _table_bytes(flags) + 1)
    picture = data[:colours_end] + control + data[position:end] + b";"
    return Header("GIF", width, height, True, 9 * width * height, picture)


def _table_bytes(flags: int) -> int:
    return 3 << (1 + (flags & 7)) if flags & 0x80 else 0


def _skip_blocks(data: bytes, position: int) -> int:
    for _ in range(4 * MOST_PARTS):  # of 255 bytes at most
        length = data[position]
        position += 1 + length
        if not length:
            return position
    raise ImageError(f"a picture of the GIF has more than {4 * MOST_PARTS:,} blocks; save it again")
