"""Scenes: pictures with the faces of many photos, at many sizes, turned, lit and blurred.

A scene is a patchwork. Each patch shows a photo around a face, a part of a photo without a face, a photo with its faces
painted over, or a texture. On top come heads that are cut out with soft edges, and parts without a face, cut out in the
same way. So neither a seam nor a cut-out tells where a face is.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from train.detector.photos import CERTAIN, Rows, overlaps
from train.detector.textures import texture

Image = NDArray[np.uint8]
Draw = Callable[[Generator], tuple[Image, Rows]]
"""Gives a photo (uint8 BGR) and its faces, by chance."""

SMALLEST = 9.0
"""Faces narrower than this, pixels, are ignored in the loss."""

WHOLE, TRACE = 0.65, 0.15
"""A face is taught where at least the first share of its box can be seen, and left out below the second share."""

EMPTY = np.zeros((0, 15), np.float32)

_SWAP = (1, 0, 2, 4, 3)
"""Order of the landmarks in a mirror image."""


@dataclass(slots=True)
class Scene:
    """A picture and the faces in it; a confidence of 0 marks what may be a face, and is ignored in the loss.

    Attributes:
        image: uint8 BGR.
        faces: See `train.detector.photos.Rows`.
    """

    image: Image
    faces: Rows = field(default_factory=lambda: EMPTY)


def draw_scene(photo: Draw, size: int, rng: Generator) -> Scene:
    """Draw a scene.

    Args:
        photo: Gives photos.
        size: Height and width, pixels.
        rng: Decides everything.
    """
    scene = Scene(texture(size, size, rng))
    scene.faces = np.concatenate(
        [EMPTY, *(_draw_patch(scene.image, patch, photo, rng) for patch in _patches(size, rng))]
    )
    for _ in range(int(rng.choice(4, p=(0.5, 0.25, 0.15, 0.1)))):
        _cut_out(scene, photo, rng)
    _hide_parts(scene, rng)
    narrow = scene.faces[:, 2] < SMALLEST
    scene.faces[narrow, 14] = 0
    scene.image = _camera(scene.image, rng)
    return scene


def _patches(size: int, rng: Generator) -> list[tuple[int, int, int, int]]:
    """Divide a picture into 1 to 25 patches of uneven sizes: (left, top, right, bottom)."""
    typical = np.exp(rng.uniform(np.log(size / 4.4), np.log(1.3 * size)))
    found = []
    ys = _cuts(size, typical, rng)
    for top, bottom in pairwise(ys):
        xs = _cuts(size, typical, rng)
        found += [(left, top, right, bottom) for left, right in pairwise(xs)]
    return found


def _cuts(size: int, typical: float, rng: Generator) -> list[int]:
    count = int(np.clip(round(size / typical), 1, 5))
    inner = (np.arange(1, count) + rng.uniform(-0.3, 0.3, count - 1)) / count * size
    return [0, *inner.astype(int).tolist(), size]


def _draw_patch(image: Image, patch: tuple[int, int, int, int], photo: Draw, rng: Generator) -> Rows:
    """Fill one patch of a picture in place; return the faces in it."""
    left, top, right, bottom = patch
    view = image[top:bottom, left:right]
    height, width = view.shape[:2]
    kind = rng.random()
    if kind < 0.05:
        return EMPTY  # the background stays
    if kind < 0.08:
        view[:] = texture(width, height, rng)
        return EMPTY
    if kind < 0.18:
        view[:] = _without_face(width, height, photo, rng)
        return EMPTY
    source, rows = photo(rng)
    if kind < 0.23:
        source, rows = _painted_over(source, rows, photo, rng), EMPTY
    rows = _draw_photo(view, source, rows, rng)
    rows[:, :14] += np.tile((left, top), 7) * np.repeat((1, 0, 1), (2, 2, 10))
    return rows


def _draw_photo(view: Image, source: Image, rows: Rows, rng: Generator) -> Rows:
    """Warp a photo into a view, in place, around one of its faces; return its faces in pixels of the view."""
    height, width = view.shape[:2]
    anchor = _anchor(source, rows, rng)
    low, high = (0.12, 0.4) if rng.random() < 0.12 else (0.45, 0.95)
    wanted = min(height, width) * np.exp(rng.uniform(np.log(low), np.log(high)))
    source, both = _shrunk(source, np.concatenate([anchor[None], rows]), wanted / anchor[2])
    anchor, rows = both[0], both[1:]
    if rng.random() < 0.3:  # as the detector sees small faces: enlarged
        source = _coarse(source, anchor[2], wanted, rng)
    source = _light(source, rng)
    if rng.random() < 0.5:
        source = np.asarray(cv2.flip(source, 1), np.uint8)
        rows, anchor = mirrored(rows, source.shape[1]), mirrored(anchor[None], source.shape[1])[0]
    matrix = _placement(anchor, wanted, width, height, rng)
    cv2.warpAffine(
        source, _of_pixels(matrix), (width, height), dst=view, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
    )
    return _seen(_moved(rows, matrix), width, height)


def _anchor(source: Image, rows: Rows, rng: Generator) -> NDArray[np.float32]:
    """Choose the face that a photo is placed by; where it has none, a square in its middle."""
    certain = rows[rows[:, 14] >= CERTAIN]
    if len(certain):
        return certain[0 if rng.random() < 0.8 else rng.integers(len(certain))]
    height, width = source.shape[:2]
    side = 0.4 * min(height, width)
    return np.array([(width - side) / 2, (height - side) / 2, side, side, *[0.0] * 11], np.float32)


def _placement(
    anchor: NDArray[np.float32], wanted: float, width: int, height: int, rng: Generator
) -> NDArray[np.float64]:
    """Draw the map (2, 3) that scales the anchor to a width, turns it, and puts it somewhere in a view."""
    turn = np.clip(rng.normal(0, 11), -35, 35) if rng.random() < 0.85 else rng.uniform(-50, 50)
    centre = anchor[:2] + anchor[2:4] / 2
    scale = float(wanted / anchor[2])
    matrix = np.array(cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), float(turn), scale), np.float64)
    matrix[0] *= rng.uniform(0.9, 1.1)
    sides = np.array((width, height))
    at = sides / 2 + rng.uniform(-0.5, 0.5, 2) * np.maximum(sides - 0.8 * wanted, 0)
    matrix[:, 2] += at - (matrix[:, :2] @ centre + matrix[:, 2])
    return matrix


def _of_pixels(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a map as OpenCV takes it: there the middle of the first pixel is 0, here it is 0.5.

    Without this, a small face would be off by half a pixel of the larger picture it comes from.
    """
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2].sum(1) / 2 - 0.5
    return shifted


def _moved(rows: Rows, matrix: NDArray[np.float64]) -> Rows:
    """Return faces after an affine map. A box that is turned grows a little, as a detector's does."""
    moved = rows.copy()
    points = rows[:, 4:14].reshape(-1, 5, 2) @ matrix[:, :2].T + matrix[:, 2]
    centres = (rows[:, :2] + rows[:, 2:4] / 2) @ matrix[:, :2].T + matrix[:, 2]
    stretch = np.linalg.norm(matrix[:, :2], axis=0)
    turn = abs(np.arctan2(matrix[1, 0], matrix[0, 0]))
    straight = rows[:, 2:4] * stretch
    sizes = np.cos(turn) * straight + np.sin(turn) * straight[:, ::-1]
    moved[:, :2], moved[:, 2:4] = centres - sizes / 2, sizes
    moved[:, 4:14] = points.reshape(-1, 10)
    return moved


def _seen(rows: Rows, width: int, height: int) -> Rows:
    """Return the faces that can be seen in a view; those that are partly seen get the confidence 0."""
    near, far = np.maximum(rows[:, :2], 0), np.minimum(rows[:, :2] + rows[:, 2:4], (width, height))
    share = np.clip(far - near, 0, None).prod(1) / np.maximum(rows[:, 2:4].prod(1), 1e-9)
    rows[(share < WHOLE) | (rows[:, 14] < CERTAIN), 14] = 0
    return rows[share >= TRACE]


def mirrored(rows: Rows, width: int) -> Rows:
    """Return faces in the mirror image of their picture, which is `width` pixels wide."""
    moved = rows.copy()
    moved[:, 0] = width - rows[:, 0] - rows[:, 2]
    points = rows[:, 4:14].reshape(-1, 5, 2)[:, _SWAP]
    points[..., 0] = width - points[..., 0]
    moved[:, 4:14] = points.reshape(-1, 10)
    return moved


def _shrunk(source: Image, rows: Rows, scale: float) -> tuple[Image, Rows]:
    """Reduce a photo until it is at most twice as large as needed, so that a bilinear warp suffices; and its faces."""
    power = 0.5 ** int(max(0, np.floor(-np.log2(scale))))
    if power == 1:
        return source, rows.copy()
    small = _resize(source, power)
    exact = np.divide(
        small.shape[1::-1], source.shape[1::-1]
    )  # sides are whole numbers, so this is not exactly `power`
    return small, (rows * np.append(np.tile(exact, 7), 1)).astype(np.float32)


def _resize(source: Image, scale: float) -> Image:
    size = [max(2, round(side * scale)) for side in source.shape[1::-1]]
    return np.asarray(cv2.resize(source, size, interpolation=cv2.INTER_AREA), np.uint8)


def _coarse(source: Image, face: float, wanted: float, rng: Generator) -> Image:
    """Lower the resolution of a photo to that of a face of 12 to 60 pixels, or as wanted; its size stays."""
    scale = min(np.exp(rng.uniform(np.log(12), np.log(60))), wanted, face) / face
    how = cv2.INTER_LINEAR if rng.random() < 0.6 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(_resize(source, scale), source.shape[1::-1], interpolation=how), np.uint8)


def _light(source: Image, rng: Generator) -> Image:
    """Change brightness, contrast, gamma and colour of a photo; one in eight is lit from one side."""
    if rng.random() < 0.4:
        return source
    levels = np.arange(256, dtype=np.float32)[:, None] / 255
    gamma = np.exp(rng.normal(0, 0.35))
    gain = np.exp(rng.normal(0, 0.3)) * np.exp(rng.normal(0, 0.07, 3))
    table = np.clip(255 * (levels**gamma * gain + rng.normal(0, 0.05)), 0, 255).astype(np.uint8)
    lit = np.asarray(cv2.LUT(source, table[None]), np.uint8)
    if rng.random() < 0.12:
        lit = np.repeat(cv2.cvtColor(lit, cv2.COLOR_BGR2GRAY)[..., None], 3, -1)
    if rng.random() < 0.2:
        left, right = rng.uniform(0.2, 1.4, 2).tolist()
        ramp = np.linspace(left, right, lit.shape[1], dtype=np.float32)[None, :, None]
        lit = np.clip(lit * ramp, 0, 255).astype(np.uint8)
    return lit


def _without_face(width: int, height: int, photo: Draw, rng: Generator) -> Image:
    """Cut a part of a photo that shows no face, and resize it; after four tries, draw a texture."""
    for _ in range(4):
        source, rows = photo(rng)
        limit = min(source.shape[0] / height, source.shape[1] / width)
        scale = limit * np.exp(rng.uniform(np.log(0.12), np.log(0.5)))
        piece = np.array((width, height)) * scale
        at = rng.uniform(0, 1, 2) * (np.array(source.shape[1::-1]) - piece)
        if not len(rows) or overlaps(np.array([[*at, *piece]]), rows).max() < 0.05:
            left, top = at.astype(int)
            right, bottom = np.ceil(at + piece).astype(int)
            part = _light(source[top:bottom, left:right], rng)
            return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return texture(width, height, rng)


def _painted_over(source: Image, rows: Rows, photo: Draw, rng: Generator) -> Image:
    """Cover the faces of a photo, with soft edges: heads without faces."""
    image = source.copy()
    for row in rows:
        x, y, w, h = row[:4]
        if rng.random() < 0.5:
            tiny = _resize(image, 3 / max(float(w), 3))
            cover = np.asarray(cv2.resize(tiny, image.shape[1::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
        else:
            cover = _without_face(image.shape[1], image.shape[0], photo, rng)
        image = _blend(image, cover, (x + w / 2, y + h / 2), (0.6 * w, 0.6 * h), rng)
    return image


def _blend(below: Image, above: Image, centre: tuple[float, float], axes: tuple[float, float], rng: Generator) -> Image:
    """Lay one picture over another within an ellipse whose edge is hard or soft."""
    y, x = (np.arange(side, dtype=np.float32) for side in below.shape[:2])
    distance = np.sqrt((((x - centre[0]) / axes[0]) ** 2)[None] + (((y - centre[1]) / axes[1]) ** 2)[:, None])
    mask = np.clip((1 - distance) / rng.choice((0.03, 0.15, 0.5)) + 0.5, 0, 1).astype(np.float32)
    return np.asarray(cv2.blendLinear(above, below, mask, 1 - mask), np.uint8)


def _cut_out(scene: Scene, photo: Draw, rng: Generator) -> None:
    """Lay a head, or a part without a face, over a scene; in place."""
    size = scene.image.shape[0]
    width = size * np.exp(rng.uniform(np.log(0.05), np.log(0.5)))
    side = int(2.4 * width)
    left, top = (int(rng.uniform(-0.3 * side, size - 0.7 * side)) for _ in range(2))
    source, rows = photo(rng)
    new = EMPTY
    if rng.random() < 0.5 or not len(rows):
        view = _without_face(side, side, photo, rng)
    else:
        source, row = _shrunk(source, rows[:1], width / rows[0, 2])
        source = _light(source, rng)
        matrix = _placement(row[0], width, side, side, rng)
        matrix[:, 2] += side / 2 - (matrix[:, :2] @ (row[0, :2] + row[0, 2:4] / 2) + matrix[:, 2])
        warped = cv2.warpAffine(source, _of_pixels(matrix), (side, side), borderMode=cv2.BORDER_REPLICATE)
        view, new = np.asarray(warped, np.uint8), _moved(row, matrix)
    y, x = max(top, 0), max(left, 0)
    below = scene.image[y : top + side, x : left + side]
    above = view[y - top :, x - left :][: below.shape[0], : below.shape[1]]
    axes = width * rng.uniform(0.62, 0.9), width * rng.uniform(0.85, 1.1)
    below[:] = _blend(below, above, (left + side / 2 - x, top + side / 2 - y), axes, rng)
    cover = np.array([[left + side / 2 - axes[0], top + side / 2 - axes[1], 2 * axes[0], 2 * axes[1]]], np.float32)
    _cover(scene, cover)
    new[:, :14] += np.tile((left, top), 7) * np.repeat((1, 0, 1), (2, 2, 10))
    scene.faces = np.concatenate([scene.faces, _seen(new, size, size)])


def _cover(scene: Scene, box: NDArray[np.float32]) -> None:
    """Mark the faces that a box lies on as doubtful, and remove those that it hides."""
    near, far = (
        np.maximum(scene.faces[:, :2], box[:, :2]),
        np.minimum(scene.faces[:, :2] + scene.faces[:, 2:4], box[:, :2] + box[:, 2:4]),
    )
    share = np.clip(far - near, 0, None).prod(1) / np.maximum(scene.faces[:, 2:4].prod(1), 1e-9)
    scene.faces[share > 1 - WHOLE, 14] = 0
    scene.faces = scene.faces[share <= 1 - TRACE]


def _hide_parts(scene: Scene, rng: Generator) -> None:
    """Cover the eyes, the mouth or a side of one face in ten; they stay faces."""
    for row in scene.faces[rng.random(len(scene.faces)) < 0.1]:
        x, y, w, h = row[:4]
        low, high = ((0.2, 0.5), (0.6, 1.0), (0.0, 0.3), (0.0, 1.0))[rng.integers(4)]
        side = rng.uniform(0.6, 0.8) if high - low == 1 else 0.0
        corner = max(0, int(x + side * w)), max(0, int(y + low * h))
        end = max(0, int(x + w)), max(0, int(y + high * h))
        part = scene.image[corner[1] : end[1], corner[0] : end[0]]
        if part.size:
            part[:] = texture(part.shape[1], part.shape[0], rng)


def _camera(image: Image, rng: Generator) -> Image:
    """Do to a picture what a camera does: exposure, blur, noise, compression."""
    if rng.random() < 0.2:
        image = _light(image, rng)
    if rng.random() < 0.15:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6)), np.uint8)
    if rng.random() < 0.06:
        image = np.asarray(cv2.blur(image, (int(rng.integers(2, 9)), 1) if rng.random() < 0.7 else (1, 5)), np.uint8)
    if rng.random() < 0.2:
        channels = 3 if rng.random() < 0.5 else 1
        noise = rng.standard_normal((*image.shape[:2], channels), dtype=np.float32)
        image = np.clip(image + rng.uniform(2, 20) * noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 90))])
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return image
