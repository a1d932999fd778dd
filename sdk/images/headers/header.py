"""Header: facts about an encoded image that are known before it is decoded."""

from typing import NamedTuple

MOST_PARTS = 1 << 17
"""Most chunks of a PNG and blocks of a GIF's picture, because each takes time. 64 MB in parts of 512 bytes have so
many."""

DAMAGED = "copy or download it again"
"""Advice for a damaged file."""


class Header(NamedTuple):
    """Header of an encoded image.

    Attributes:
        format: `JPEG`, `PNG`, `WebP`, `BMP`, `TIFF` or `GIF`.
        width: Pixels, before any rotation by EXIF.
        height: Pixels, before any rotation by EXIF.
        complete: False if the end of the file is missing. Only known for formats that OpenCV decodes without an error
            when they are truncated; for the others the decoder fails.
        memory: Most bytes that decoding takes, with the result, without the file.
        data: Bytes for the decoder.
    """

    format: str
    width: int
    height: int
    complete: bool
    memory: int
    data: bytes
