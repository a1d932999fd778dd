"""Read the header of an encoded image of any format."""

import struct

from sdk.errors import ImageError
from sdk.images.headers.formats import FORMATS, advice_for, foreign_format
from sdk.images.headers.gif import read_gif
from sdk.images.headers.header import DAMAGED, Header
from sdk.images.headers.jpeg import read_jpeg
from sdk.images.headers.png import read_png
from sdk.images.headers.tiff import read_tiff
from sdk.images.headers.webp import read_webp


def read_header(data: bytes) -> Header:
    """Recognise the format of an encoded image and read its header.

    Args:
        data: The whole file.

    Raises:
        ImageError: The bytes are no image of a known format, are ambiguous or damaged, or end within the header.
    """
    try:
        if data[:2] == b"\xff\xd8":
            width, height, complete, memory = read_jpeg(data)
            return Header("JPEG", width, height, complete, memory, data)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return read_png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return read_webp(data)
        if data[:2] == b"BM":
            return _bmp(data)
        if data[:4] in (b"II*\0", b"MM\0*"):
            width, height, memory, picture = read_tiff(data)
            return Header("TIFF", width, height, True, memory, picture)
        if data[:6] in (b"GIF87a", b"GIF89a"):
            return read_gif(data)
    except (struct.error, IndexError) as error:
        raise ImageError(f"the image ends within its header; it is truncated: {DAMAGED}") from error
    if not data:
        raise ImageError(f"the image is empty (0 bytes); {DAMAGED}")
    foreign = foreign_format(data)
    if foreign:
        raise ImageError(f"this is a {foreign} image, wanted {FORMATS}; {advice_for(foreign)}")
    raise ImageError(f"this is not an image: it starts with {data[:12]!r}, wanted {FORMATS}")


def _bmp(data: bytes) -> Header:
    size = struct.unpack_from("<I", data, 14)[0]
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    return Header("BMP", abs(width), abs(height), True, 6 * abs(width) * abs(height), data)
