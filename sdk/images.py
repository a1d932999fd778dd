"""Everything that becomes pixels: a path, bytes, an array or a PIL image -> uint8 BGR.

Conversions, all of them:

- EXIF orientation is applied (in WebP files from OpenCV 5 on).
- Grey becomes three equal channels; an alpha channel is dropped; a palette or CMYK is expanded.
- 16 bits become 8 by keeping the upper byte (TIFF files: by OpenCV's decoder, at most one level apart).

Anything else is an `ImageError`: floating-point arrays and TIFF files (nothing says whether white is 1 or 255), more
than `MAX_PIXELS` (refused before decoding), a side under `MIN_SIDE`, a file that is truncated or not an image.
"""

import sys
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.errors import ImageError
from sdk.headers import read_header

if TYPE_CHECKING:
    import PIL.Image

ImageSource: TypeAlias = Union[str, PathLike[str], bytes, NDArray[Any], "PIL.Image.Image"]
"""What `load_image` takes."""

MAX_PIXELS = 100_000_000
"""Largest image, width x height: a 100-megapixel camera's, 300 MB once decoded."""

MAX_BYTES = 1 << 30
"""Largest file that is read at all."""

MIN_SIDE = 16
"""Smallest side, pixels; no detector finds a face in less."""


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> NDArray[np.uint8]:
    """Turn any image into pixels.

    Args:
        source: Path of an image file, the bytes of one, an array (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA of
            uint8 or uint16, or a PIL image.
        max_pixels: Largest image file, width x height.
        max_bytes: Largest file.

    Returns:
        uint8 (H, W, 3), BGR, C-contiguous. A uint8 BGR array that is so already is returned itself, not copied.

    Raises:
        ImageError: The source cannot be read, is too large or too small, or is of an unknown kind.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(bytes(source))
    if isinstance(source, (str, PathLike)):
        return _from_file(Path(source), max_pixels, max_bytes)
    pil = sys.modules.get("PIL.Image")  # a PIL image can only exist if its owner imported PIL
    if pil is not None and isinstance(source, pil.Image):
        return _from_pil(source)
    raise ImageError(f"an image is a {type(source).__name__}, wanted a path, bytes, a numpy array or a PIL image")


def _from_file(path: Path, max_pixels: int, max_bytes: int) -> NDArray[np.uint8]:
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise ImageError(f"{path} has {size:,} bytes, wanted at most {max_bytes:,}; make it smaller")
        return _decode(path.read_bytes(), max_pixels)
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}; give the path of an image file") from error
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def _decode(data: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    header = read_header(data)
    _check_size(header.width, header.height, max_pixels)
    damaged = f"the {header.format} image is truncated or damaged; copy or download it again"
    if not header.complete:
        raise ImageError(damaged)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(damaged) from error
    if image is None:
        raise ImageError(damaged)
    return image.astype(np.uint8, copy=False)


def _from_pil(image: "PIL.Image.Image") -> NDArray[np.uint8]:
    from PIL import ImageOps

    _check_size(*image.size)
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("F", "I") or upright.mode.startswith("I;"):  # converted to RGB, these would be clipped
            return _from_array(np.asarray(upright))
        return _from_array(np.asarray(upright.convert("RGB"))[..., ::-1])
    except OSError as error:
        raise ImageError(f"the PIL image cannot be decoded: {error}; copy or download its file again") from error


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(f"an image array has shape {array.shape}, wanted (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    _check_size(array.shape[1], array.shape[0])
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.dtype != np.uint8:
        nan = ", with NaN or infinity in it" if array.dtype.kind == "f" and not np.isfinite(array).all() else ""
        raise ImageError(
            f"an image array has dtype {array.dtype}{nan}, wanted uint8 (0..255) or uint16 (0..65535); "
            "scale it yourself, for example (255 * array).round().astype('uint8') when white is 1"
        )
    if array.ndim == 2:
        array = array[..., None]
    if array.shape[2] == 1:
        array = array.repeat(3, axis=2)
    return np.ascontiguousarray(array[..., :3])


def _check_size(width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    if width * height > max_pixels:
        raise ImageError(f"the image is {width} x {height}, wanted at most {max_pixels:,} pixels; make it smaller")
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"the image is {width} x {height}, wanted at least {MIN_SIDE} x {MIN_SIDE}")
