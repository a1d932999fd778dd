"""load_image: a path, bytes, an array or a PIL image -> uint8 BGR."""

import os
import sys
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

from sdk.errors import ImageError
from sdk.files import read_file
from sdk.images.array_images import from_array
from sdk.images.encoded import check_encoded, decode_checked
from sdk.images.headers.formats import HEIF_FORMATS, foreign_format
from sdk.images.headers.reading import read_header
from sdk.images.pil_images import from_pil

if TYPE_CHECKING:
    import PIL.Image

ImageSource: TypeAlias = Union[str, PathLike[str], bytes, NDArray[Any], "PIL.Image.Image"]
"""Types that `load_image` takes."""

MAX_PIXELS = 64_000_000
"""Default limit on an image's width x height; decoded, such an image takes 192 MB."""

MAX_BYTES = 64 << 20
"""Default limit on a file's size, bytes."""


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> NDArray[np.uint8]:
    """Read any image as uint8 BGR.

    All conversions:

    - EXIF orientation is applied (in WebP files from OpenCV 5 on). Other EXIF data are ignored.
    - Grey becomes three equal channels. An alpha channel is dropped. A palette or CMYK is expanded.
    - 16 bits become 8: the upper byte is kept (TIFF files: by OpenCV's decoder, which may differ by one level).
    - Of a file with several pictures the first is taken; of a PIL image, its current frame.
    - A PIL image that is open and not decoded yet is read as its file is.
    - HEIC and AVIF files are read through pillow-heif if it is installed.

    Everything else is refused: floating-point arrays and TIFF files (white may be 1 or 255), images that take far more
    memory or time to decode than usual ones, files that are truncated or no image. Size is checked before decoding.

    Args:
        source: Path of an image file; the bytes of one; an array of uint8 or uint16, (H, W), (H, W, 1), (H, W, 3) BGR
            or (H, W, 4) BGRA; or a PIL image.
        max_pixels: Largest image, width x height. It also limits the memory and the time of decoding.
        max_bytes: Largest file, bytes.

    Returns:
        uint8 (H, W, 3), BGR, C-contiguous. An array that is already of this kind is returned itself, not a copy.

    Raises:
        ImageError: The source cannot be read, is too large, has a side below 16 pixels, or is of an unknown kind.

    Examples:
        >>> import numpy as np
        >>> from sdk import load_image
        >>> grey16 = np.full((48, 64), 65535, np.uint16)
        >>> image = load_image(grey16)
        >>> image.shape, int(image.max())
        ((48, 64, 3), 255)
    """
    try:
        return _load(source, max_pixels, max_bytes)
    except MemoryError as error:
        raise ImageError("there is not enough memory for the image; make it smaller, or free memory") from error


def _load(source: Any, max_pixels: int, max_bytes: int) -> NDArray[np.uint8]:
    if isinstance(source, np.ndarray):
        return from_array(source, max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_bytes(source, max_pixels, max_bytes)
    if isinstance(source, (str, PathLike)):
        return _from_file(source, max_pixels, max_bytes)
    pil = sys.modules.get("PIL.Image")  # a PIL image can only exist if its owner imported PIL
    if pil is not None and isinstance(source, pil.Image):
        return from_pil(source, max_pixels, max_bytes)
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
    return decode_checked(check_encoded(data, max_pixels))


def _decode_heif(data: bytes, max_pixels: int, max_bytes: int) -> NDArray[np.uint8]:
    try:
        import pillow_heif
        from PIL import Image
    except ImportError:
        read_header(data)  # raises an error that says what to install
        raise
    import io

    pillow_heif.register_heif_opener()
    try:
        with Image.open(io.BytesIO(data)) as image:
            return from_pil(image, max_pixels, max_bytes)
    except ImageError:
        raise
    except Exception as error:  # a plugin raises errors of any class
        raise ImageError(f"the {foreign_format(data[:16])} image cannot be opened: {error}; save it as JPEG") from error
