"""Images: through `load_image` as bytes, files, PIL images and arrays, and through a scorer."""

import io
import random
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from hostile.image_bombs import BOMBS
from hostile.image_parts import mutate_parts
from hostile.image_seeds import SEEDS, odd_exif, samples
from hostile.inputs import Input, Refused, mutate, pick, splice, trail
from sdk import QualityScorer
from sdk.images.decoding import MAX_PIXELS, load_image
from sdk.results_io.scoring import score_files

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".gif", ".heic", "", ".jpg.txt")
BOMB_SHARE = 0.03
DTYPES = (
    "u1",
    "u1",
    ">u2",
    "<u2",
    "i1",
    "<i2",
    "<u4",
    "<i8",
    "<f2",
    "<f4",
    ">f8",
    "?",
    "<c8",
    "S3",
    "U1",
    "M8[s]",
    "V3",
    "O",
)
SHAPES = (
    (40, 50, 3), (40, 50), (40, 50, 1), (40, 50, 4), (3, 40, 50), (40, 50, 2), (40, 50, 0), (0, 50, 3), (15, 15, 3),
    (50,),
    (), (1, 40, 50, 3), (16, 16, 3), (16, 100_000), (40, 50, 5),
)  # fmt: skip
LAYOUTS = (
    "plain",
    "plain",
    "backwards",
    "every other",
    "transposed",
    "broadcast",
    "huge broadcast",
    "read-only",
    "masked",
    "matrix",
    "field",
)
MODES = (
    "1",
    "L",
    "P",
    "RGB",
    "RGBA",
    "RGBX",
    "RGBa",
    "LA",
    "La",
    "PA",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
    "I;16",
    "I;16B",
)


def warm_up() -> None:
    """Have all libraries loaded before memory is measured."""
    warnings.simplefilter("ignore")
    PIL.Image.init()
    _scorer().assess(np.zeros((64, 64, 3), np.uint8))


@cache
def _scorer() -> QualityScorer:
    return QualityScorer(threads=1)


def draw_input(draw: random.Random) -> Input:
    """An image of any kind, hostile in any way."""
    choice = draw.random()
    if choice < 0.06:
        return _draw_array(draw)
    if choice < 0.09:
        options = {"mode": draw.choice(MODES), "size": [draw.choice((0, 1, 15, 16, 40)), draw.choice((1, 16, 50))]}
        return Input("made", {"exif": odd_exif(draw)[draw.choice((0, 6)) :]}, "a PIL image with EXIF", options)
    data, about = _draw_bytes(draw)
    door = draw.choices(("bytes", "path", "pil", "assess", "score"), (45, 25, 15, 8, 7))[0]
    return Input(door, {f"image{draw.choice(SUFFIXES)}": data}, about)


def _draw_bytes(draw: random.Random) -> tuple[bytes, str]:
    if draw.random() < BOMB_SHARE:
        name, bomb = pick(draw, BOMBS)
        return bomb(draw), name
    name, make = pick(draw, SEEDS)
    data = make(draw)
    choice = draw.random()
    if choice < 0.03:
        return data, name
    if choice < 0.08:
        other, make = pick(draw, SEEDS)
        return splice(draw, data, make(draw)), f"{name}: splice with {other}"
    if choice < 0.11:
        return trail(draw, data), f"{name}: trail"
    data, done = (mutate_parts if choice < 0.65 else mutate)(draw, data)
    if draw.random() < 0.1:
        data, more = mutate(draw, data)
        done += "+" + more
    return data, f"{name}: {done}"


def _draw_array(draw: random.Random) -> Input:
    options = {"dtype": draw.choice(DTYPES), "shape": list(draw.choice(SHAPES)), "layout": draw.choice(LAYOUTS)}
    return Input("array", {"seed": draw.randbytes(8)}, str(options), options)


# Doors


def _from_bytes(place: Path, given: Input) -> None:
    _check(load_image(next(iter(given.files.values()))))


def _from_path(place: Path, given: Input) -> None:
    _check(load_image(place / next(iter(given.files))))


def _from_pil(place: Path, given: Input) -> None:
    try:
        image = PIL.Image.open(io.BytesIO(next(iter(given.files.values()))))
    except Exception as error:
        raise Refused(f"PIL: {error}") from error
    _check(load_image(image))


def _made(place: Path, given: Input) -> None:
    try:
        image = PIL.Image.new(given.options["mode"], tuple(given.options["size"]))
    except ValueError as error:
        raise Refused(f"PIL: {error}") from error
    image.info["exif"] = given.files["exif"]
    _check(load_image(image))


def _from_array(place: Path, given: Input) -> None:
    _check(load_image(_array(given)))


def _array(given: Input) -> Any:
    draw, shape, kind = random.Random(given.files["seed"]), tuple(given.options["shape"]), given.options["dtype"]
    array: Any = np.full(shape, None, object) if kind == "O" else samples(draw, shape, kind)
    layout = given.options["layout"]
    if layout == "huge broadcast":
        return np.broadcast_to(np.zeros((1, 1, 1), array.dtype), (draw.choice((8000, 8001, 1 << 40)), 8000, 3))
    if layout == "masked":
        return np.ma.masked_array(array)
    if layout == "field":
        return np.zeros(shape, [("a", "u1"), ("b", "<f4")])["a"]
    if layout == "matrix" and array.ndim == 2:
        return np.asmatrix(array)
    if array.ndim >= 2 and layout in ("backwards", "every other", "transposed", "broadcast"):
        return {
            "backwards": lambda: array[::-1, ::-1], "every other": lambda: array[::2, ::2],
            "transposed": lambda: array.swapaxes(0, 1),
            "broadcast": lambda: np.broadcast_to(array[:1], array.shape),
        }[layout]()  # fmt: skip
    return array


def _assess(place: Path, given: Input) -> None:
    for face in _scorer().assess(next(iter(given.files.values()))):
        if not (np.isfinite(face.score) and np.isfinite(face.box).all() and np.isfinite(face.landmarks).all()):
            raise AssertionError(f"a face without numbers: {face}")


def _score(place: Path, given: Input) -> None:
    rows = [row for rows in score_files(_scorer(), [place / next(iter(given.files))], thumbnails=True) for row in rows]
    if not rows or any((row.score is None) != bool(row.error) for row in rows):
        raise AssertionError(f"rows without a score and an error: {rows}")


def _check(image: Any) -> None:
    """What `load_image` promises."""
    if type(image) is not np.ndarray or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise AssertionError(f"a {type(image)} {getattr(image, 'dtype', '')} {getattr(image, 'shape', '')}")
    if not image.flags.c_contiguous or image.shape[0] * image.shape[1] > MAX_PIXELS or min(image.shape[:2]) < 16:
        raise AssertionError(f"an image of {image.shape}, contiguous: {image.flags.c_contiguous}")


DOORS = {
    "bytes": _from_bytes, "path": _from_path, "pil": _from_pil, "made": _made, "array": _from_array, "assess": _assess,
    "score": _score,
}  # fmt: skip
