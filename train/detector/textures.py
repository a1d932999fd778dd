"""Random pictures without faces, for the parts of a scene that show no photo."""

from typing import cast

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def texture(width: int, height: int, rng: Generator) -> Image:
    """Draw one of the kinds below: uint8 BGR (height, width, 3)."""
    kinds = (flat, gradient, clouds, stripes, shapes, grain)
    return kinds[int(rng.choice(len(kinds), p=(0.1, 0.15, 0.25, 0.1, 0.3, 0.1)))](width, height, rng)


def colour(rng: Generator) -> NDArray[np.float32]:
    """Draw a colour, BGR; one in four is grey, and one in four like skin, for skin alone is no face."""
    kind = rng.random()
    if kind < 0.25:
        return np.full(3, rng.uniform(0, 255), np.float32)
    if kind < 0.5:
        return np.float32(rng.uniform(0.4, 1.1)) * rng.normal((120, 150, 205), 12).astype(np.float32)
    return rng.uniform(0, 255, 3).astype(np.float32)


def flat(width: int, height: int, rng: Generator) -> Image:
    """Draw one colour."""
    return _uint8(np.broadcast_to(colour(rng), (height, width, 3)))


def gradient(width: int, height: int, rng: Generator) -> Image:
    """Draw a gradient between a colour in each corner."""
    corners = np.stack([colour(rng) for _ in range(4)]).reshape(2, 2, 3)
    return _uint8(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR))


def clouds(width: int, height: int, rng: Generator) -> Image:
    """Draw smooth noise of several sizes."""
    image = np.zeros((height, width, 3), np.float32) + colour(rng)
    for cells in (3, 8, 20, 50):
        noise = rng.normal(0, rng.uniform(5, 45), (cells, cells, int(rng.choice((1, 3))))).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, -1)
    return _uint8(image)


def stripes(width: int, height: int, rng: Generator) -> Image:
    """Draw stripes, or their product: checks and dots."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    wave = np.ones((height, width), np.float32)
    for _ in range(rng.integers(1, 3)):
        angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(4), np.log(60)))
        wave *= np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period).astype(np.float32)
    if rng.random() < 0.5:
        wave = np.sign(wave)
    return _uint8(colour(rng) + wave[..., None] * (colour(rng) - 128) / 2)


def shapes(width: int, height: int, rng: Generator) -> Image:
    """Draw boxes, ellipses, rings and lines; some have dark dots in them that are like eyes."""
    image = gradient(width, height, rng)
    side = min(width, height)
    for _ in range(rng.integers(3, 25)):
        paint = cast(tuple[float, float, float], tuple(colour(rng).tolist()))
        centre = int(rng.integers(0, width)), int(rng.integers(0, height))
        radius = max(2, int(side * np.exp(rng.uniform(np.log(0.02), np.log(0.4)))))
        axes = radius, max(1, int(radius * rng.uniform(0.4, 1.6)))
        thick = -1 if rng.random() < 0.7 else int(rng.integers(1, 5))
        kind = rng.random()
        if kind < 0.4:
            cv2.ellipse(image, centre, axes, rng.uniform(0, 180), 0, 360, paint, thick, cv2.LINE_AA)
        elif kind < 0.75:
            corner = centre[0] + axes[0], centre[1] + axes[1]
            cv2.rectangle(image, centre, corner, paint, thick)
        else:
            end = int(rng.integers(0, width)), int(rng.integers(0, height))
            cv2.line(image, centre, end, paint, int(rng.integers(1, 8)), cv2.LINE_AA)
        if kind < 0.15:
            for _ in range(rng.integers(1, 5)):
                spot = tuple(int(c + rng.uniform(-0.6, 0.6) * a) for c, a in zip(centre, axes, strict=True))
                cv2.circle(image, spot, max(1, radius // 8), (20, 20, 30), -1, cv2.LINE_AA)
    return image


def grain(width: int, height: int, rng: Generator) -> Image:
    """Draw noise that is independent from pixel to pixel."""
    return _uint8(colour(rng) + rng.uniform(5, 60) * rng.standard_normal((height, width, 3), dtype=np.float32))


def _uint8(values: NDArray[np.number]) -> Image:
    return np.clip(values, 0, 255).astype(np.uint8)
