"""PIL images. One that is open and not decoded yet is read as its file is; any other is converted strip by strip."""

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import ImageError
from sdk.images.array_images import to_bgr
from sdk.images.encoded import check_encoded, check_memory, check_size, decode_checked
from sdk.images.headers.header import Header

if TYPE_CHECKING:
    import PIL.Image

logger = logging.getLogger(__name__)

PIL_FORMATS = frozenset({"JPEG", "MPO", "PNG", "WEBP", "BMP", "TIFF", "GIF"})
"""PIL's names of the formats that `decode_checked` reads."""

STRIP = 1 << 20
"""Pixels of a PIL image that are converted at a time."""

FIRST_FRAME_MEMORY, LATER_FRAME_MEMORY = 11, 19
"""Bytes a pixel that PIL takes to decode, with the result: a copy in its decoder; for later frames also canvases."""


def from_pil(image: "PIL.Image.Image", max_pixels: int, max_bytes: int) -> NDArray[np.uint8]:
    """Convert a PIL image to uint8 BGR (H, W, 3); see `sdk.load_image`.

    Raises:
        ImageError: The image is refused, or PIL cannot decode it.
        MemoryError: There is not enough memory.
    """
    try:
        check_size(*image.size, max_pixels)
        if getattr(image, "fp", None) is not None:  # not decoded yet
            data = _pil_file(image, max_bytes)
            if data is not None:
                header = check_encoded(data, max_pixels)
                if not _is_draft(image, header):
                    return decode_checked(header)
            a_pixel = LATER_FRAME_MEMORY if image.format in PIL_FORMATS and image.tell() else FIRST_FRAME_MEMORY
            memory = a_pixel * image.width * image.height
            check_memory(f"PIL {image.format}", image.size, memory, max_pixels)
        image.load()
        check_size(*image.size, max_pixels)  # an icon may have another size once it is decoded
        return _convert(image)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # PIL's plugins raise errors of any class: SyntaxError, struct.error, RuntimeError
        raise ImageError(f"the PIL image cannot be decoded: {error}; copy or download its file again") from error


def _pil_file(image: Any, max_bytes: int) -> bytes | None:
    """Read the file of a PIL image. Return None for a later frame, and for a format or plugin that is not PIL's own."""
    if image.format not in PIL_FORMATS or not type(image).__module__.startswith("PIL."):
        return None
    start = image.offset if image.format == "MPO" else 0  # each picture of an MPO file is a whole JPEG
    if image.tell() > 0 and not start:
        return None
    position = image.fp.tell()
    try:
        image.fp.seek(start)
        data: bytes = image.fp.read(max_bytes + 1)
    finally:
        image.fp.seek(position)
    if len(data) > max_bytes:
        raise ImageError(f"the PIL image's file has more than {max_bytes:,} bytes; make it smaller")
    return data


def _is_draft(image: Any, header: Header) -> bool:
    """Tell whether `Image.draft` asked PIL to decode the image smaller or in grey."""
    return sorted(image.size) != sorted((header.width, header.height)) or bool(getattr(image, "decoderconfig", ()))


def _convert(image: "PIL.Image.Image") -> NDArray[np.uint8]:
    """Convert strip by strip into the upright result. A whole copy is avoided: PIL itself holds 4 bytes a pixel."""
    width, height = image.size
    orientation = _pil_orientation(image)
    pixels = np.empty((width, height, 3) if orientation >= 5 else (height, width, 3), np.uint8)
    stored = _turn(pixels, {6: 8, 8: 6}.get(orientation, orientation))
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        stored[top : top + rows] = _pil_pixels(strip)
    return pixels


def _pil_orientation(image: "PIL.Image.Image") -> int:
    """Return the EXIF orientation, 1 to 8. Damaged EXIF data count as 1, as in OpenCV."""
    try:
        value = image.getexif().get(0x0112)
    except Exception as error:  # noqa: BLE001 - a parser of untrusted data raises errors of any class
        logger.debug("EXIF data that cannot be read: %s", error)
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turn(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return a view of an image, turned by an EXIF orientation. Each is its own inverse, except 6 and 8."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image[::-1] if orientation in (3, 4, 7, 8) else image


def _pil_pixels(image: "PIL.Image.Image") -> NDArray[np.uint8]:
    if image.mode in ("F", "I") or image.mode.startswith("I;"):  # PIL would clip these when it converts them to RGB
        return to_bgr(np.asarray(image))
    image.info = {}  # drops a transparent colour, which would change the conversion
    if image.mode in ("La", "RGBa"):  # premultiplied alpha: PIL needs two steps to convert it
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    return np.asarray(image.convert("RGB"))[..., ::-1]
