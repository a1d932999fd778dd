"""Damage in random order, as a cheap camera and a network do it: what DifFIQA's diffusion model learns to restore.

Zhang, Liang, Van Gool and Timofte, "Designing a Practical Degradation Model for Deep Blind Image Super-Resolution",
ICCV 2021, at 512 x 512 with the scale factor 4. Images within are float32 (H, W, 3) in [0, 1].
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
"""Probability that the damage is done a second time at least, and a third time."""

Image = NDArray[np.float32]
Kernel = NDArray[np.float64]

INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA)


def degrade_face(face: NDArray[np.uint8], rng: Generator) -> NDArray[np.uint8]:
    """Damage a crop at 512 x 512 up to three times, each time from that size, and bring it back to its own.

    Args:
        face: uint8 BGR (112, 112, 3); not changed.
        rng: Decides everything.

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
    """Damage an image once: it comes back smaller by the factor 4 on each side.

    With probability 1/4 it is halved first. Then come, in random order, two blurs, two reductions of size (the second
    after the first), noise and, with probability 0.9, JPEG; in the end JPEG once more.
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
    """Names of the operations in a random order in which `final_size` comes after `smaller`."""
    order = list(rng.permutation(["blur", "blur", "smaller", "final_size", "noise", "compression"]))
    first, last = sorted((order.index("smaller"), order.index("final_size")))
    order[first], order[last] = "smaller", "final_size"
    return order


def blur(image: Image, factor: int, rng: Generator) -> Image:
    """Convolve with a random Gaussian."""
    return _filter(image, draw_blur_kernel(factor, rng))


def draw_blur_kernel(factor: int, rng: Generator) -> Kernel:
    """A Gaussian on 7 x 7 to 25 x 25 pixels; half of the time anisotropic.

    Anisotropic: turned by 0 to 180 degrees, variances along its axes up to `4 + factor`; isotropic: deviation up to
    `2 + 0.2 * factor`.
    """
    size = 2 * int(rng.integers(2, 12)) + 3
    if rng.random() < 0.5:
        angle, (first, second) = rng.uniform(0, np.pi), rng.uniform(0, 4 + factor, 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return gaussian_kernel(size, turn @ np.diag([first, second]) @ turn.T)
    return gaussian_kernel(size, rng.uniform(0, 2 + 0.2 * factor) ** 2 * np.eye(2))


def gaussian_kernel(size: int, covariance: NDArray[np.float64], shift: float = 0.0) -> Kernel:
    """A Gaussian on (size, size) pixels that adds up to 1.

    Args:
        size: Odd.
        covariance: (2, 2), of x and y in pixels. A very narrow one is widened until it has a peak on the grid.
        shift: Of its centre from the middle pixel, along both axes.
    """
    steps = np.arange(size) - size // 2 - shift
    grid = np.stack(np.meshgrid(steps, steps), -1)
    inverse = np.linalg.inv(covariance + 1e-2 * np.eye(2))
    exponents = -0.5 * np.einsum("hwi,ij,hwj->hw", grid, inverse, grid)
    values = np.exp(exponents - exponents.max())
    return np.asarray(values / values.sum())


def smaller(image: Image, factor: int, rng: Generator) -> Image:
    """With probability 3/4 by a random factor of 1 to `2 * factor`, else by `factor` with a shifted kernel."""
    if rng.random() < 0.75:
        chosen = rng.uniform(1, 2 * factor)
        height, width = image.shape[:2]
        return _resize(image, int(width / chosen), int(height / chosen), rng.choice(INTERPOLATIONS))
    return take_every(image, factor, rng.uniform(0.1, 0.6 * factor))


def take_every(image: Image, factor: int, sigma: float) -> Image:
    """Every `factor`-th pixel of the image under a Gaussian whose centre is that of the pixels it stands for."""
    kernel = gaussian_kernel(25, sigma**2 * np.eye(2), shift=(factor - 1) / 2)
    return np.ascontiguousarray(_filter(image, kernel)[::factor, ::factor])


def noise(image: Image, factor: int, rng: Generator) -> Image:
    """Gaussian noise: in colour (40 %) or grey (40 %) of 2 to 25 grey levels, or correlated between colours (20 %).

    The covariance of the last kind is `|Q.T D Q|` times 25 levels squared, with Q a random rotation and D diagonal in
    [0, 1].
    """
    level, kind = rng.integers(2, 26) / 255, rng.random()
    channels = 1 if kind < 0.4 else 3
    grain = rng.standard_normal((*image.shape[:2], channels), dtype=np.float32)
    if kind < 0.4 or kind > 0.6:
        return _clipped(image + np.float32(level) * grain)
    return _clipped(image + grain @ draw_correlation(rng).astype(np.float32) * np.float32(25 / 255))


def draw_correlation(rng: Generator) -> NDArray[np.float64]:
    """(3, 3) symmetric root of a random covariance, see `noise`."""
    rotation = np.linalg.qr(rng.random((3, 3)))[0]
    covariance = np.abs(rotation.T @ np.diag(rng.random(3)) @ rotation)
    variances, axes = np.linalg.eigh(covariance)
    return np.asarray(axes * np.sqrt(variances.clip(0)) @ axes.T)


def compression(image: Image, factor: int, rng: Generator) -> Image:
    """JPEG, with probability 0.9."""
    return jpeg(image, draw_jpeg_quality(rng)) if rng.random() < 0.9 else image


def draw_jpeg_quality(rng: Generator) -> int:
    """30 to 95."""
    return int(rng.integers(30, 96))


def jpeg(image: Image, quality: int) -> Image:
    """The image after JPEG at a quality of 0 to 100."""
    _, data = cv2.imencode(".jpg", np.rint(image * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return _clipped(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)) / np.float32(255))


OPERATIONS: dict[str, Callable[[Image, int, Generator], Image]] = {
    "blur": blur,
    "smaller": smaller,
    "noise": noise,
    "compression": compression,
}
"""By name: (image, factor, rng) -> image."""


def _filter(image: Image, kernel: Kernel) -> Image:
    return _clipped(cv2.filter2D(image, -1, kernel.astype(np.float32), borderType=cv2.BORDER_REFLECT_101))


def _resize(image: Image, width: int, height: int, interpolation: int) -> Image:
    return _clipped(cv2.resize(image, (width, height), interpolation=int(interpolation)))


def _clipped(image: NDArray[np.number]) -> Image:
    return np.clip(image, 0, 1).astype(np.float32, copy=False)
