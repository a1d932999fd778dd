"""Decode the bytes of an image file: refuse what is damaged or takes too much, then decode with OpenCV."""

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.errors import ImageError
from sdk.images.headers.header import Header
from sdk.images.headers.reading import read_header

MIN_SIDE = 16
"""Smallest side of an image, pixels. No detector finds a face in a smaller one."""

MEMORY_A_PIXEL = 9.1
"""Bytes that decoding may take, with the file, for each pixel of the limit on pixels.

It is enough for all images of 64 megapixels, except: progressive JPEGs without chroma subsampling in files over 6 MB,
TIFFs in one compressed strip, lossless WebPs (22 megapixels pass) and animated WebPs (50 megapixels pass).
"""


def check_encoded(data: bytes, max_pixels: int) -> Header:
    """Return the header of an encoded image; refuse one that is damaged, too large, or takes too much to decode.

    Raises:
        ImageError: The image is refused.
    """
    header = read_header(data)
    check_size(header.width, header.height, max_pixels)
    if not header.complete:
        raise ImageError(f"the {header.format} image is truncated or damaged; copy or download it again")
    memory = header.memory + len(data) + (len(header.data) if header.data is not data else 0)
    check_memory(header.format, (header.width, header.height), memory, max_pixels)
    return header


def check_memory(kind: str, size: tuple[int, int], memory: int, max_pixels: int) -> None:
    """Refuse an image that takes more memory to decode than the limit on pixels allows.

    Args:
        kind: Format, for the message.
        size: Width and height, pixels.
        memory: Bytes that decoding takes.
        max_pixels: The limit, width x height.

    Raises:
        ImageError: It takes more than `MEMORY_A_PIXEL` bytes for each of `max_pixels`.
    """
    if memory > MEMORY_A_PIXEL * max_pixels:
        raise ImageError(
            f"this {kind} image of {size[0]} x {size[1]} takes {memory / 1e6:.0f} MB to decode, "
            f"wanted at most {MEMORY_A_PIXEL * max_pixels / 1e6:.0f}; make it smaller, or raise the limit of pixels"
        )


def decode_checked(header: Header) -> NDArray[np.uint8]:
    """Decode an image whose header `check_encoded` has returned, to uint8 BGR (H, W, 3).

    Raises:
        ImageError: The image is damaged, or this OpenCV does not read its format.
        MemoryError: There is not enough memory.
    """
    damaged = f"the {header.format} image is truncated or damaged; copy or download it again"
    missing = _missing_decoder(header)
    if missing:
        raise ImageError(
            f"OpenCV {cv2.__version__} reads no {missing} images; `pip install -U opencv-python-headless` brings one "
            "that does, or save the image as JPEG"
        )
    try:
        image = cv2.imdecode(np.frombuffer(header.data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError from error
        raise ImageError(damaged) from error
    if image is None or sorted(image.shape[:2]) != sorted((header.width, header.height)):
        raise ImageError(damaged)
    return image.astype(np.uint8, copy=False)


def _missing_decoder(header: Header) -> str:
    """Return the name of a format that this OpenCV does not read (GIF and animated WebP before 5); else empty."""
    if header.format == "GIF" and not cv2.haveImageWriter(".gif"):
        return "GIF"
    animated = header.format == "WebP" and header.data[12:16] == b"VP8X" and header.data[20] & 2
    return "animated WebP" if animated and not hasattr(cv2, "imreadanimation") else ""


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse an image with more than `max_pixels`, or with a side below `MIN_SIDE`.

    Raises:
        ImageError: The image is refused.
    """
    if width * height > max_pixels:
        raise ImageError(f"the image is {width} x {height}, wanted at most {max_pixels:,} pixels; make it smaller")
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"the image is {width} x {height}, wanted at least {MIN_SIDE} x {MIN_SIDE}")
