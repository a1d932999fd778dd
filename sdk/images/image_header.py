"""Sizes and costs of encoded images, read before they are decoded, and what of a file the decoder is given.

The picture must be the one that was measured. So each format is read as its decoder reads it; what is ambiguous (a
second header, a field named twice) is refused, and of formats that hold more than one picture or room for other
data (PNG, GIF, TIFF) the decoder sees nothing but the parts that were read here.
"""

import struct
import zlib
from typing import NamedTuple

from sdk.errors import ImageError

FORMATS = "JPEG, PNG, WebP, BMP, TIFF or GIF"

MOST_PARTS = 1 << 17
"""Most chunks of a PNG and blocks of a GIF's picture; 64 MB in parts of 512 bytes. Each takes time."""

_PNG_PARTS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"})

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

_MOST_RATIO = 1032
"""Most bytes that deflate makes of one."""

_HARMLESS = 1 << 31
"""Bytes that are unpacked in 2 s."""

_STEP = 1 << 14

_MOST_TABLES, _TABLE_BYTES = 1 << 16, 5700
"""Of lossless WebP; each set of tables is 20 bits at least in the file."""

_DAMAGED = "copy or download it again"


class Header(NamedTuple):
    """What is known of an encoded image before it is decoded.

    Attributes:
        format: `JPEG`, `PNG`, `WebP`, `BMP`, `TIFF` or `GIF`.
        width: Pixels, before any rotation that EXIF asks for.
        height: Pixels.
        complete: False when the file's end is missing. Only formats that OpenCV decodes without complaint when they
            are cut short are judged; the others fail in its decoder.
        memory: Bytes that decoding takes at most, with the result and without the file.
        data: What the decoder is to be given.
    """

    format: str
    width: int
    height: int
    complete: bool
    memory: int
    data: bytes


def read_header(data: bytes) -> Header:
    """Recognise an encoded image; read its size and what it costs.

    Raises:
        ImageError: The bytes are not an image of a known format, are ambiguous, or end within the header.
    """
    try:
        if data[:2] == b"\xff\xd8":
            from sdk.images.jpeg_header import read_jpeg

            width, height, complete, memory = read_jpeg(data)
            return Header("JPEG", width, height, complete, memory, data)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return _png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        if data[:2] == b"BM":
            return _bmp(data)
        if data[:4] in (b"II*\0", b"MM\0*"):
            from sdk.images.tiff_header import read_tiff

            width, height, memory, picture = read_tiff(data)
            return Header("TIFF", width, height, True, memory, picture)
        if data[:6] in (b"GIF87a", b"GIF89a"):
            return _gif(data)
    except (struct.error, IndexError) as error:
        raise ImageError(f"the image ends within its header; it is truncated: {_DAMAGED}") from error
    if not data:
        raise ImageError(f"the image is empty (0 bytes); {_DAMAGED}")
    foreign = foreign_format(data)
    if foreign:
        raise ImageError(f"this is a {foreign} image, wanted {FORMATS}; {advice_for(foreign)}")
    raise ImageError(f"this is not an image: it starts with {data[:12]!r}, wanted {FORMATS}")


HEIF_FORMATS = frozenset({"HEIC", "AVIF"})
"""What pillow-heif and Pillow read where they are installed."""


def is_readable(head: bytes) -> bool:
    """Whether a file that starts so is of a format in `FORMATS`."""
    return (
        head[:3] == b"\xff\xd8\xff"
        or head[:8] == b"\x89PNG\r\n\x1a\n"
        or head[:6] in (b"GIF87a", b"GIF89a")
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:4] in (b"II*\0", b"MM\0*") and head[8:10] != b"CR")
        or (head[:2] == b"BM" and head[6:10] == bytes(4) and head[15:18] == bytes(3))
    )


def foreign_format(head: bytes) -> str:
    """Name the format of a picture that is not in `FORMATS` by its first bytes; empty where it is none."""
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "")
    for start, name in _STARTS.items():
        if head.startswith(start):
            return name
    if b"<svg" in head[:256]:
        return "SVG"
    return ""


def advice_for(foreign: str) -> str:
    """Say what opens a format that `foreign_format` names."""
    if foreign in HEIF_FORMATS:
        return "`pip install pillow-heif` to read it, or save it as JPEG"
    return "save it as JPEG or PNG"


_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    b"crx ": "RAW",
}

_STARTS = {
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"8BPS": "Photoshop",
    b"II+\0": "BigTIFF",
    b"MM\0+": "BigTIFF",
    b"FUJIFILMCCD-RAW": "RAW",
    b"IIU\0": "RAW",
    b"IIRO": "RAW",
    b"IIRS": "RAW",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
}


def _png(data: bytes) -> Header:
    """Keep the chunks that make the picture.

    OpenCV takes memory for what a chunk claims to have, and libpng unpacks texts and profiles, which may be bombs.
    """
    if data[8:16] != b"\0\0\0\rIHDR":
        raise ImageError(f"the PNG does not begin with its header; it is damaged: {_DAMAGED}")
    width, height = struct.unpack_from(">II", data, 16)
    view = memoryview(data)
    parts: list[memoryview] = []
    pieces: list[memoryview] = []
    seen: set[bytes] = set()
    start, position = 0, 8  # what lies between them is kept, and not yet in `parts`
    complete = False
    for _ in range(MOST_PARTS):
        if complete or position + 12 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        if kind == b"IHDR" and kind in seen:
            raise ImageError(f"the PNG has two headers; it is damaged: {_DAMAGED}")
        if kind not in _PNG_PARTS or (kind == b"eXIf" and kind in seen):
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
    """Refuse pixels that unpack to far more than the picture has, for OpenCV unpacks all of them."""
    if _MOST_RATIO * sum(map(len, pieces)) < _HARMLESS:
        return
    wanted = _HARMLESS // 64 + 4 * height + width * height * depth * _PNG_CHANNELS.get(colour, 1) // 8
    inflater = zlib.decompressobj()
    unpacked = 0
    for part in (piece[start : start + _STEP] for piece in pieces for start in range(0, len(piece), _STEP)):
        try:
            unpacked += len(inflater.decompress(part))
        except zlib.error as error:
            raise ImageError(f"the PNG's pixels are damaged ({error}); {_DAMAGED}") from error
        if unpacked > wanted:
            raise ImageError(f"the PNG's pixels unpack to more than {width} x {height}; it is damaged: {_DAMAGED}")
        if inflater.eof:  # the decoder does not unpack what comes behind
            return


def _bmp(data: bytes) -> Header:
    size = struct.unpack_from("<I", data, 14)[0]
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    return Header("BMP", abs(width), abs(height), True, 6 * abs(width) * abs(height), data)


def _webp(data: bytes) -> Header:
    """The first chunk's size: libwebp refuses a frame of another size than the canvas."""
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
        raise ImageError(f"the WebP file holds a chunk {kind!r}, wanted VP8, VP8L or VP8X; it is damaged: {_DAMAGED}")
    tables = 0
    if b"VP8L" in data or b"ALPH" in data:  # lossless coding: BGRA and BGR, and a set of tables for each 4 x 4 pixels
        bytes_a_pixel = max(bytes_a_pixel, 8)
        tables = _TABLE_BYTES * min(_MOST_TABLES, width * height // 16, len(data) // 2)
    complete = len(data) >= 8 + struct.unpack_from("<I", data, 4)[0]
    return Header("WebP", width, height, complete, bytes_a_pixel * width * height + tables, data)


def _gif(data: bytes) -> Header:
    """Keep the first frame."""
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
        raise ImageError(f"the GIF has no picture; {_DAMAGED}")
    left, top, columns, rows, flags = struct.unpack_from("<HHHHB", data, position + 1)
    if left + columns > width or top + rows > height:
        raise ImageError(f"the GIF's first frame is larger than the GIF; it is damaged: {_DAMAGED}")
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
