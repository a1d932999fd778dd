"""Arrays as images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import ImageError
from sdk.images.encoded import check_size


def from_array(array: NDArray[Any], max_pixels: int) -> NDArray[np.uint8]:
    """Convert an array to uint8 BGR (H, W, 3); see `sdk.load_image`.

    Raises:
        ImageError: Its shape, type or size is refused.
    """
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise ImageError("an image array has masked pixels; fill them, for example array.filled(0)")
    array = np.asarray(array)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(f"an image array has shape {array.shape}, wanted (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    check_size(array.shape[1], array.shape[0], max_pixels)
    return to_bgr(array)


def to_bgr(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA to uint8 BGR, with one copy at most.

    Raises:
        ImageError: The type is neither uint8 nor uint16.
    """
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
