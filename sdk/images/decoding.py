"""Everything that becomes pixels: a path, bytes, an array or a PIL image -> uint8 BGR.

Conversions, all of them:

- EXIF orientation is applied (in WebP files from OpenCV 5 on). Nothing else of EXIF is read.
- Grey becomes three equal channels; an alpha channel is dropped; a palette or CMYK is expanded.
- 16 bits become 8 by keeping the upper byte (TIFF files: by OpenCV's decoder, at most one level apart).
- Of a file with several pictures the first one counts; of a PIL image the frame that it is at.
- A PIL image that is open and not decoded yet is read as its file is.
- HEIC and AVIF files are read through pillow-heif, where it is installed.

Anything else is an `ImageError`: floating-point arrays and TIFF files (nothing says whether white is 1 or 255), more
than `MAX_PIXELS` or `MAX_BYTES` (refused before decoding), what would take more memory or time to decode than honest
images do, a side under `MIN_SIDE`, a file that is truncated or not an image.
"""

import logging
import os
import sys
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.errors import ImageError
from sdk.files import read_file
from sdk.images.image_header import HEIF_FORMATS, Header, foreign_format, read_header

if TYPE_CHECKING:
    import PIL.Image

logger = logging.getLogger(__name__)

ImageSource: TypeAlias = Union[str, PathLike[str], bytes, NDArray[Any], "PIL.Image.Image"]
"""What `load_image` takes."""

MAX_PIXELS = 64_000_000
"""Largest image, width x height, unless the caller says otherwise: 192 MB once decoded."""

MAX_BYTES = 64 << 20
"""Largest file that is read, unless the caller says otherwise."""

MIN_SIDE = 16
"""Smallest side, pixels; no detector finds a face in less."""

PIL_FORMATS = frozenset({"JPEG", "MPO", "PNG", "WEBP", "BMP", "TIFF", "GIF"})
"""PIL's names of the formats that are read here."""

STRIP = 1 << 20
"""Pixels of a PIL image that are converted at a time."""

MEMORY_A_PIXEL = 9.1
"""Bytes for each of the largest number of pixels: with the file, what decoding may take. It is enough for every kind of
image of 64 megapixels but progressive JPEGs without chroma subsampling in files over 6 MB, TIFFs in one compressed
piece, and WebPs that are lossless (22 megapixels pass) or animated (50).
"""

PIL_MEMORY_A_PIXEL, FRAME_MEMORY_A_PIXEL = 11, 19
"""Bytes that PIL takes to decode, with the result: for a copy in its decoder; for the canvases of later frames."""


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> NDArray[np.uint8]:
    """Turn any image into pixels.

    Args:
        source: Path of an image file, the bytes of one, an array (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA of
            uint8 or uint16, or a PIL image.
        max_pixels: Largest image, width x height. Memory and time that an image may take grow with it.
        max_bytes: Largest file.

    Returns:
        uint8 (H, W, 3), BGR, C-contiguous. A uint8 BGR array that is so already is returned itself, not copied.

    Raises:
        ImageError: The source cannot be read, is too large or too small, or is of an unknown kind.
    """
    try:
        return _load(source, max_pixels, max_bytes)
    except MemoryError as error:
        raise ImageError("there is not enough memory for the image; make it smaller, or free memory") from error


def _load(source: Any, max_pixels: int, max_bytes: int) -> NDArray[np.uint8]:
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_bytes(source, max_pixels, max_bytes)
    if isinstance(source, (str, PathLike)):
        return _from_file(source, max_pixels, max_bytes)
    pil = sys.modules.get("PIL.Image")  # a PIL image can only exist if its owner imported PIL
    if pil is not None and isinstance(source, pil.Image):
        return _from_pil(source, max_pixels, max_bytes)
    raise ImageError(f"an image is a {type(source).__name__}, wanted a path, bytes, a numpy array or a PIL image")


def _from_file(source: str | PathLike[str], max_pixels: int, max_bytes: int) -> NDArray[np.uint8]:
    try:
        path = Path(os.fsdecode(source))
    except (TypeError, ValueError) as error:
        raise ImageError(f"{source!r} is no path ({error}); give the path of an image file") from error
    data = read_file(path, ImageError, "give the path of an image file", max_bytes)
    try:
        return _decode(data, max_pixels, max_bytes)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def _from_bytes(source: bytes | bytearray | memoryview, max_pixels: int, max_bytes: int) -> NDArray[np.uint8]:
    try:
        size = source.nbytes if isinstance(source, memoryview) else len(source)
        if size > max_bytes:
            raise ImageError(f"the image has {size:,} bytes, wanted at most {max_bytes:,}; make it smaller")
        data = bytes(source)
    except (ValueError, NotImplementedError) as error:
        raise ImageError(f"the bytes of the image cannot be read: {error}; give bytes") from error
    return _decode(data, max_pixels, max_bytes)


def _decode(data: bytes, max_pixels: int, max_bytes: int) -> NDArray[np.uint8]:
    if foreign_format(data[:16]) in HEIF_FORMATS:
        return _decode_heif(data, max_pixels, max_bytes)
    return _decode_checked(_check_encoded(data, max_pixels))


def _check_encoded(data: bytes, max_pixels: int) -> Header:
    """Refuse what is damaged, too large, or takes too much memory or time to decode."""
    header = read_header(data)
    _check_size(header.width, header.height, max_pixels)
    if not header.complete:
        raise ImageError(f"the {header.format} image is truncated or damaged; copy or download it again")
    memory = header.memory + len(data) + (len(header.data) if header.data is not data else 0)
    _check_memory(header.format, (header.width, header.height), memory, max_pixels)
    return header


def _check_memory(kind: str, size: tuple[int, int], memory: int, max_pixels: int) -> None:
    if memory > MEMORY_A_PIXEL * max_pixels:
        raise ImageError(
            f"this {kind} image of {size[0]} x {size[1]} takes {memory / 1e6:.0f} MB to decode, "
            f"wanted at most {MEMORY_A_PIXEL * max_pixels / 1e6:.0f}; make it smaller, or raise the limit of pixels"
        )


def _decode_checked(header: Header) -> NDArray[np.uint8]:
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
    """Name what OpenCV 4.10 does not read."""
    if header.format == "GIF" and not cv2.haveImageWriter(".gif"):
        return "GIF"
    animated = header.format == "WebP" and header.data[12:16] == b"VP8X" and header.data[20] & 2
    return "animated WebP" if animated and not hasattr(cv2, "imreadanimation") else ""


def _decode_heif(data: bytes, max_pixels: int, max_bytes: int) -> NDArray[np.uint8]:
    try:
        import pillow_heif
        from PIL import Image
    except ImportError:
        read_header(data)  # says what it is, and what to install
        raise
    import io

    pillow_heif.register_heif_opener()
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _from_pil(image, max_pixels, max_bytes)
    except ImageError:
        raise
    except Exception as error:  # a plugin raises what it likes
        raise ImageError(f"the {foreign_format(data[:16])} image cannot be opened: {error}; save it as JPEG") from error


def _from_pil(image: "PIL.Image.Image", max_pixels: int, max_bytes: int) -> NDArray[np.uint8]:
    try:
        _check_size(*image.size, max_pixels)
        if getattr(image, "fp", None) is not None:  # not decoded yet
            data = _pil_file(image, max_bytes)
            if data is not None:
                header = _check_encoded(data, max_pixels)
                if not _is_draft(image, header):
                    return _decode_checked(header)
            a_pixel = FRAME_MEMORY_A_PIXEL if image.format in PIL_FORMATS and image.tell() else PIL_MEMORY_A_PIXEL
            memory = a_pixel * image.width * image.height
            _check_memory(f"PIL {image.format}", image.size, memory, max_pixels)
        image.load()
        _check_size(*image.size, max_pixels)  # icons may turn out to be of another size
        return _convert(image)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # PIL's plugins raise whatever they like: SyntaxError, struct.error, RuntimeError
        raise ImageError(f"the PIL image cannot be decoded: {error}; copy or download its file again") from error


def _pil_file(image: Any, max_bytes: int) -> bytes | None:
    """Read the file of a PIL image; None for a later frame, and for a format or a plugin that is not PIL's own."""
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
    """Whether PIL was asked to decode the image smaller or in grey."""
    return sorted(image.size) != sorted((header.width, header.height)) or bool(getattr(image, "decoderconfig", ()))


def _convert(image: "PIL.Image.Image") -> NDArray[np.uint8]:
    """Convert strip by strip, straight into the upright result: PIL takes 4 bytes a pixel already."""
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
    """1 to 8. Damaged EXIF data turn nothing, as in OpenCV."""
    try:
        value = image.getexif().get(0x0112)
    except Exception as error:  # noqa: BLE001 - a parser of untrusted data raises what it likes
        logger.debug("EXIF data that cannot be read: %s", error)
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turn(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """View of an image, turned as an EXIF orientation asks for; 6 and 8 are each other's inverse."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image[::-1] if orientation in (3, 4, 7, 8) else image


def _pil_pixels(image: "PIL.Image.Image") -> NDArray[np.uint8]:
    if image.mode in ("F", "I") or image.mode.startswith("I;"):  # converted to RGB, these would be clipped
        return _to_bgr(np.asarray(image))
    image.info = {}  # of a transparent colour, which is not looked at
    if image.mode in ("La", "RGBa"):  # multiplied with alpha; PIL converts them in two steps only
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    return np.asarray(image.convert("RGB"))[..., ::-1]


def _from_array(array: NDArray[Any], max_pixels: int) -> NDArray[np.uint8]:
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise ImageError("an image array has masked pixels; fill them, for example array.filled(0)")
    array = np.asarray(array)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(f"an image array has shape {array.shape}, wanted (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    _check_size(array.shape[1], array.shape[0], max_pixels)
    return _to_bgr(array)


def _to_bgr(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), in one copy at most."""
    if array.dtype.kind != "u" or array.dtype.itemsize > 2:
        nan = ", with NaN or infinity in it" if array.dtype.kind == "f" and not np.isfinite(array).all() else ""
        raise ImageError(
            f"an image array has dtype {array.dtype}{nan}, wanted uint8 (0..255) or uint16 (0..65535); "
            "scale it yourself, for example (255 * array).round().astype('uint8') when white is 1"
        )
    if array.ndim == 2:
        array = array[..., None]
    array = array[..., :3]
    if array.dtype == np.uint8 and array.shape[2] == 3:
        return np.ascontiguousarray(array)
    pixels = np.empty((*array.shape[:2], 3), np.uint8)
    if array.dtype == np.uint8:
        pixels[...] = array
    else:
        np.right_shift(array, 8, out=pixels, casting="unsafe")
    return pixels


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(f"the image is {width} x {height}, wanted at most {max_pixels:,} pixels; make it smaller")
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"the image is {width} x {height}, wanted at least {MIN_SIDE} x {MIN_SIDE}")
