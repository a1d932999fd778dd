"""Sizes of encoded images, read from their first bytes: what an image would cost is known before it is decoded."""

import struct
from typing import NamedTuple

from sdk.errors import ImageError

_SAMPLE_FORMAT, _FLOATING_POINT = 339, 3

FORMATS = "JPEG, PNG, WebP, BMP, TIFF or GIF"


class Header(NamedTuple):
    """What the first bytes of an image file say.

    Attributes:
        format: `JPEG`, `PNG`, `WebP`, `BMP`, `TIFF` or `GIF`.
        width: Pixels, before any rotation that EXIF asks for.
        height: Pixels.
        complete: False when the file's end is missing. Only formats that OpenCV decodes without complaint when they
            are cut short (JPEG, PNG in OpenCV 4) are judged; the others fail in its decoder.
    """

    format: str
    width: int
    height: int
    complete: bool


def read_header(data: bytes) -> Header:
    """Recognise an encoded image and read its size.

    Raises:
        ImageError: The bytes are not an image of a known format, or end within the header.
    """
    try:
        if data[:2] == b"\xff\xd8":
            return _jpeg(data)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            width, height = struct.unpack_from(">II", data, 16)
            return Header("PNG", width, height, b"IEND\xaeB`\x82" in data[-65536:])
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return Header("WebP", *_webp(data), len(data) >= 8 + struct.unpack_from("<I", data, 4)[0])
        if data[:2] == b"BM":
            width, height = struct.unpack_from("<ii", data, 18)
            return Header("BMP", abs(width), abs(height), True)
        if data[:4] in (b"II*\0", b"MM\0*"):
            return Header("TIFF", *_tiff(data), True)
        if data[:6] in (b"GIF87a", b"GIF89a"):
            width, height = struct.unpack_from("<HH", data, 6)
            return Header("GIF", width, height, True)
    except (struct.error, IndexError, KeyError) as error:
        raise ImageError("the image ends within its header; it is truncated: copy or download it again") from error
    if not data:
        raise ImageError("the image is empty (0 bytes); copy or download it again")
    raise ImageError(f"this is not an image: it starts with {data[:12]!r}, wanted {FORMATS}")


def _jpeg(data: bytes) -> Header:
    """Walk the segments up to the first scan; the frame header is among them."""
    size = None
    position = 2
    while True:
        while data[position] == 0xFF and data[position + 1] == 0xFF:  # fill bytes
            position += 1
        marker, length = struct.unpack_from(">xBH", data, position)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, position + 5)
            size = width, height
        if marker == 0xDA:
            if size is None:
                raise ImageError("the JPEG has no frame header before its first scan; it is damaged: copy it again")
            # An EXIF thumbnail has an end marker of its own, but lies before the first scan.
            return Header("JPEG", *size, data.rfind(b"\xff\xd9") > position)
        position += 2 + length


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ImageError(f"the WebP file holds a chunk {kind!r}, wanted VP8, VP8L or VP8X; it is damaged: copy it again")


def _tiff(data: bytes) -> tuple[int, int]:
    """Tags 256 (width) and 257 (height) of the first directory; 339 (format of samples) says what cannot be read."""
    order = "<" if data[:2] == b"II" else ">"
    start = struct.unpack_from(order + "I", data, 4)[0]
    values = {}
    for index in range(struct.unpack_from(order + "H", data, start)[0]):
        entry = start + 2 + 12 * index
        tag, kind, count = struct.unpack_from(order + "HHI", data, entry)
        place = entry + 8
        if tag == _SAMPLE_FORMAT and 2 * count > 4:  # one short a channel: three do not fit into the entry
            place = struct.unpack_from(order + "I", data, place)[0]
        values[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, place)[0]
    if values.get(_SAMPLE_FORMAT) == _FLOATING_POINT:
        raise ImageError(
            "the TIFF image holds floating-point numbers, wanted integers of 8 or 16 bits; scale it and save it again, "
            "for nothing says whether white is 1 or 255"
        )
    return values[256], values[257]
