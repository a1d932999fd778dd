"""Make a short video of faces out of one photo: `python examples/media/make_clip.py OUT.mp4`.

Ten seconds at 25 frames a second, 640 x 360: nobody; a face comes nearer; stands; blurs; turns away; is in the dark;
nobody; two faces pass. `SEGMENTS` says which frames show what. Always the same pixels.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, RATE = 640, 360, 25
SEGMENTS = {
    "empty": range(0, 25),
    "zoom": range(25, 75),
    "good": range(75, 100),
    "blur": range(100, 125),
    "turn": range(125, 150),
    "dark": range(150, 175),
    "empty again": range(175, 200),
    "two faces": range(200, 250),
}
PHOTO = Path(__file__).with_name("astronaut.jpg")
HEAD = (slice(20, 220), slice(123, 323))
"""Rows and columns of the head in the photo; the face's box is about 0.4 of the side."""

Picture = NDArray[np.uint8]


def clip_frames() -> Iterator[Picture]:
    """All 250 frames: uint8 BGR (360, 640, 3)."""
    head = np.asarray(cv2.imread(str(PHOTO)), np.uint8)[HEAD]
    rng = np.random.default_rng(0)
    wall = cv2.resize(
        rng.normal((120, 128, 132), (12, 12, 12), (6, 9, 3)).astype(np.float32),
        (WIDTH, HEIGHT),
        interpolation=cv2.INTER_CUBIC,
    )
    for name, numbers in SEGMENTS.items():
        for index, number in enumerate(numbers):
            share = index / (len(numbers) - 1)
            frame = wall.copy()
            sway = 20 * np.sin(number / 9)
            if name == "zoom":
                paste(frame, head, (320 + sway, 180), 100 + 200 * share)
            elif name == "good":
                paste(frame, head, (320 + sway, 180), 300)
            elif name == "blur":
                soft = np.asarray(cv2.GaussianBlur(head, (0, 0), 0.3 + 4 * share), np.uint8)
                paste(frame, soft, (320 + sway, 180), 300)
            elif name == "turn":
                paste(frame, head, (320 + sway, 180), 300, 1 - 0.65 * share)
            elif name == "dark":
                paste(frame, head, (320 + sway, 180), 300)
                frame *= 1 - 0.93 * share
            elif name == "two faces":
                paste(frame, head, (120 + 160 * share, 150), 190)
                paste(frame, head[:, ::-1], (520 - 160 * share, 220), 230)
            noise = rng.normal(0, 2, frame.shape).astype(np.float32)
            yield np.clip(frame + noise, 0, 255).astype(np.uint8)


def paste(
    frame: NDArray[np.float32], head: Picture, centre: tuple[float, float], side: float, turned: float = 1
) -> None:
    """Paste a head, softly at its edge, into a frame.

    Args:
        frame: float32 (360, 640, 3), 0 to 255; changed.
        head: uint8 BGR, square.
        centre: Where its middle comes, pixels.
        side: Its side, pixels.
        turned: Its width over its height: less than 1 as if it were turned away.
    """
    scale = side / head.shape[0]
    matrix = np.array(
        [
            [scale * turned, 0, centre[0] - scale * turned * head.shape[1] / 2],
            [0, scale, centre[1] - scale * head.shape[0] / 2],
        ]
    )
    y, x = np.mgrid[-1 : 1 : head.shape[0] * 1j, -1 : 1 : head.shape[1] * 1j]
    edge = np.clip((1 - np.hypot(x, y)) / 0.2, 0, 1).astype(np.float32)
    pixels = cv2.warpAffine(head, matrix, (WIDTH, HEIGHT)).astype(np.float32)
    mask = cv2.warpAffine(edge, matrix, (WIDTH, HEIGHT))[..., None]
    frame *= 1 - mask
    frame += mask * pixels


def make_clip(path: Path) -> None:
    """Write the clip, MPEG-4."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (WIDTH, HEIGHT))
    if not writer.isOpened():
        sys.exit(f"{path} cannot be written; wanted a path that ends in .mp4, in a folder that is there")
    for frame in clip_frames():
        writer.write(frame)
    writer.release()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} OUT.mp4")
    make_clip(Path(sys.argv[1]))
