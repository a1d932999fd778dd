"""Degradations in random order, which DifFIQA's diffusion model learns to restore.

Zhang, Liang, Van Gool and Timofte, "Designing a Practical Degradation Model for Deep Blind Image Super-Resolution",
ICCV 2021, at 512 x 512 with the scale factor 4. Images in this module are float32 (H, W, 3) in [0, 1].
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sdk.alignment import CROP_SIZE

SIZE = 512
FACTOR = 4
AGAIN = (0.2, 0.01)
"""Probability that the image is degraded a second time, and a third time."""

SEPARABLE = 1e-12
"""Largest difference of a kernel from the product of a column and a row that is called rounding."""

Image = NDArray[np.float32]
Kernel = NDArray[np.float64]

INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA)


def degrade_face(face: NDArray[np.uint8], rng: Generator) -> NDArray[np.uint8]:
    """Enlarge a crop to 512 x 512, degrade it up to three times, each time from that size, and reduce it to its own.

    Args:
        face: uint8 BGR (112, 112, 3); not changed.
        rng: Source of randomness.

    Returns:
        uint8 BGR (112, 112, 3).
    """
    image = _clipped(face / np.float32(255))
    draw = rng.random()
    for _ in range(1 + sum(draw < probability for probability in AGAIN)):
        image = degrade(_resize(image, SIZE, SIZE, cv2.INTER_CUBIC), rng)
    image = _resize(image, CROP_SIZE, CROP_SIZE, cv2.INTER_AREA)
    return np.rint(image * 255).astype(np.uint8)


def degrade(image: Image, rng: Generator) -> Image:
    """Degrade an image once. Each side of the result is 4 times smaller.

    With probability 1/4 the image is halved first. Then follow, in random order, two blurs, two reductions of size,
    noise and, with probability 0.9, JPEG. JPEG is also the last step.
    """
    height, width = image.shape[:2]
    factor = FACTOR
    if rng.random() < 0.25:
        image = _resize(image, width // 2, height // 2, rng.choice(INTERPOLATIONS))
        factor //= 2
    for operation in draw_order(rng):
        if operation == "final_size":
            image = _resize(image, width // FACTOR, height // FACTOR, rng.choice(INTERPOLATIONS))
        else:
            image = OPERATIONS[operation](image, factor, rng)
    return jpeg(image, draw_jpeg_quality(rng))


def draw_order(rng: Generator) -> list[str]:
    """Draw the order of the operations, in which `final_size` comes after `smaller`."""
    order = list(rng.permutation(["blur", "blur", "smaller", "final_size", "noise", "compression"]))
    first, last = sorted((order.index("smaller"), order.index("final_size")))
    order[first], order[last] = "smaller", "final_size"
    return order


def blur(image: Image, factor: int, rng: Generator) -> Image:
    """Blur with a random Gaussian."""
    return _filter(image, draw_blur_kernel(factor, rng))


def draw_blur_kernel(factor: int, rng: Generator) -> Kernel:
    """Draw a Gaussian on 7 x 7 to 25 x 25 pixels; half of the time anisotropic.

    An anisotropic one is rotated by 0 to 180 degrees, with variances along its axes up to `4 + factor`. An isotropic
    one has a deviation up to `2 + 0.2 * factor`.
    """
    size = 2 * int(rng.integers(2, 12)) + 3
    if rng.random() < 0.5:
        angle, (first, second) = rng.uniform(0, np.pi), rng.uniform(0, 4 + factor, 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return gaussian_kernel(size, turn @ np.diag([first, second]) @ turn.T)
    return gaussian_kernel(size, rng.uniform(0, 2 + 0.2 * factor) ** 2 * np.eye(2))


def gaussian_kernel(size: int, covariance: NDArray[np.float64], shift: float = 0.0) -> Kernel:
    """Return a Gaussian on (size, size) pixels; its sum is 1.

    Args:
        size: Odd number of pixels.
        covariance: (2, 2), of x and y in pixels. 0.01 is added to both variances, so that it may be 0.
        shift: Distance of the centre from the middle pixel, along both axes.
    """
    steps = np.arange(size) - size // 2 - shift
    grid = np.stack(np.meshgrid(steps, steps), -1)
    inverse = np.linalg.inv(covariance + 1e-2 * np.eye(2))
    exponents = -0.5 * np.einsum("hwi,ij,hwj->hw", grid, inverse, grid)
    values = np.exp(exponents - exponents.max())
    return np.asarray(values / values.sum())


def smaller(image: Image, factor: int, rng: Generator) -> Image:
    """Reduce by a random factor of 1 to `2 * factor` (probability 3/4), or by `factor` with a shifted kernel."""
    if rng.random() < 0.75:
        chosen = rng.uniform(1, 2 * factor)
        height, width = image.shape[:2]
        return _resize(image, int(width / chosen), int(height / chosen), rng.choice(INTERPOLATIONS))
    return take_every(image, factor, rng.uniform(0.1, 0.6 * factor))


def take_every(image: Image, factor: int, sigma: float) -> Image:
    """Blur and take every `factor`-th pixel. The Gaussian is centred on the pixels that the taken one replaces."""
    kernel = gaussian_kernel(25, sigma**2 * np.eye(2), shift=(factor - 1) / 2)
    return np.ascontiguousarray(_filter(image, kernel)[::factor, ::factor])


def noise(image: Image, factor: int, rng: Generator) -> Image:
    """Add Gaussian noise: grey (40 %) or in colour (40 %) of 2 to 25 grey levels, or correlated colours (20 %).

    The covariance of correlated colours is `|Q.T D Q|` times 25 levels squared, with a random rotation Q and a diagonal
    D in [0, 1].
    """
    level, kind = rng.integers(2, 26) / 255, rng.random()
    channels = 1 if kind < 0.4 else 3
    grain = rng.standard_normal((*image.shape[:2], channels), dtype=np.float32)
    if kind < 0.4 or kind > 0.6:
        return _clipped(image + np.float32(level) * grain)
    return _clipped(image + grain @ draw_correlation(rng).astype(np.float32) * np.float32(25 / 255))


def draw_correlation(rng: Generator) -> NDArray[np.float64]:
    """Draw the symmetric root (3, 3) of a random covariance, see `noise`."""
    rotation = np.linalg.qr(rng.random((3, 3)))[0]
    covariance = np.abs(rotation.T @ np.diag(rng.random(3)) @ rotation)
    variances, axes = np.linalg.eigh(covariance)
    return np.asarray(axes * np.sqrt(variances.clip(0)) @ axes.T)


def compression(image: Image, factor: int, rng: Generator) -> Image:
    """Compress as JPEG with probability 0.9."""
    return jpeg(image, draw_jpeg_quality(rng)) if rng.random() < 0.9 else image


def draw_jpeg_quality(rng: Generator) -> int:
    """Draw a quality of 30 to 95."""
    return int(rng.integers(30, 96))


def jpeg(image: Image, quality: int) -> Image:
    """Compress as JPEG at a quality of 0 to 100."""
    _, data = cv2.imencode(".jpg", np.rint(image * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return _clipped(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)) / np.float32(255))


OPERATIONS: dict[str, Callable[[Image, int, Generator], Image]] = {
    "blur": blur,
    "smaller": smaller,
    "noise": noise,
    "compression": compression,
}
"""Operations by name: (image, factor, rng) -> image."""


def _filter(image: Image, kernel: Kernel) -> Image:
    """Filter with a kernel whose sum is 1; one that is the product of a column and a row with these two."""
    rows, columns = kernel.sum(1), kernel.sum(0)
    if np.abs(np.outer(rows, columns) - kernel).max() < SEPARABLE:
        return _clipped(cv2.sepFilter2D(image, -1, columns, rows, borderType=cv2.BORDER_REFLECT_101))
    return _clipped(cv2.filter2D(image, -1, kernel.astype(np.float32), borderType=cv2.BORDER_REFLECT_101))


def _resize(image: Image, width: int, height: int, interpolation: int) -> Image:
    return _clipped(cv2.resize(image, (width, height), interpolation=int(interpolation)))


def _clipped(image: NDArray[np.number]) -> Image:
    """Clip to [0, 1], in place where the image is float32."""
    values = image.astype(np.float32, copy=False)
    return np.clip(values, 0, 1, out=values)
