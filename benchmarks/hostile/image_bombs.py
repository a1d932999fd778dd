"""Images that cost much: large ones within and beyond the caps, and small files that unpack to much."""

import random
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import PIL.Image

from hostile.image_parts import split
from hostile.image_seeds import (
    PNG_CHANNELS,
    PNG_START,
    bmp,
    chunk,
    picture,
    saved,
    tiff,
    tiff_tags,
)  # fmt: skip

SIDES = ((8000, 8000), (7999, 7999), (64_000, 1000), (16, 65_000), (3_999_999, 16), (8001, 8000), (40_000, 40_000))
"""Width and height: 64 megapixels and less, then more."""


def _side(draw: random.Random, most: int = 1 << 31) -> tuple[int, int]:
    return draw.choice([side for side in SIDES if max(side) <= most])


def _zeros(size: int) -> bytes:
    """Zeros, packed by zlib; at most 600 MB of them."""
    packer, out, left = zlib.compressobj(1), [], min(size, 600 << 20)
    block = bytes(1 << 20)
    while left > 0:
        out.append(packer.compress(block[: min(left, 1 << 20)]))
        left -= 1 << 20
    return b"".join([*out, packer.flush()])


def png_of_zeros(draw: random.Random) -> bytes:
    """A PNG of any type whose pixels are all there."""
    (width, height), colour = _side(draw), draw.choice((0, 2, 3, 4, 6))
    depth = draw.choice((8, 16)) if colour != 3 else 8
    row = 1 + -(-width * depth * PNG_CHANNELS[colour] // 8)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, draw.random() < 0.4))
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    return PNG_START + head + palette + chunk(b"IDAT", _zeros(row * height)) + chunk(b"IEND", b"")


def png_promises(draw: random.Random) -> bytes:
    """A PNG of a few bytes that claims a chunk, or a picture, of gigabytes."""
    width, height = _side(draw)
    head = chunk(
        b"IHDR",
        struct.pack(">IIBBBBB", width, height, draw.choice((8, 16)), draw.choice((0, 2, 6)), 0, 0, draw.randrange(2)),
    )
    length = draw.choice((0x7FFFFFFF, 0x7EFFFFFF, 0xFFFFFFFF, 1 << 30, 100 << 20, 0))
    name = draw.choice((b"IDAT", b"iCCP", b"zTXt", b"PLTE", b"eXIf", b"fdAT", b"abcd"))
    body = zlib.compress(bytes(1000))
    return PNG_START + head + struct.pack(">I", length) + name + body + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def jpeg_large(draw: random.Random) -> bytes:
    """A small JPEG whose header claims a large picture."""
    mode, progressive = draw.choice(("RGB", "L", "CMYK")), draw.random() < 0.5
    data = bytearray(
        saved(
            picture(draw, mode),
            "JPEG",
            progressive=progressive,
            subsampling=draw.choice((0, 1, 2)) if mode == "RGB" else -1,
        )
    )
    place = data.find(b"\xff\xc2" if progressive else b"\xff\xc0")
    struct.pack_into(">HH", data, place + 5, *_side(draw, 65_535))
    return bytes(data)


def jpeg_of_scans(draw: random.Random) -> bytes:
    """A progressive JPEG with thousands of scans; of a large or a small picture."""
    data = saved(picture(draw, draw.choice(("RGB", "L"))), "JPEG", progressive=True)
    parts = split(data)
    scans = [part for part in parts if part[:2] == b"\xff\xda"]
    if draw.random() < 0.7:
        place = data.find(b"\xff\xc2")
        sized = bytearray(data)
        struct.pack_into(">HH", sized, place + 5, *draw.choice(((1000, 1000), (4000, 4000), (8000, 8000))))
        parts = split(bytes(sized))
    scan = draw.choice(scans)
    if draw.random() < 0.5:
        scan = scan[: 2 + struct.unpack_from(">H", scan, 2)[0]]  # without any data
    count = draw.choice((20, 200, 5000, 100_000))
    return b"".join(parts[:-1]) + scan * min(count, (8 << 20) // len(scan)) + b"\xff\xd9"


def jpeg_real(draw: random.Random) -> bytes:
    """A whole JPEG of up to 64 megapixels: grey, colour, progressive, turned by EXIF."""
    width, height = draw.choice(((8000, 8000), (4000, 3000), (65_000, 900)))
    noise = np.frombuffer(draw.randbytes(256 * 256), np.uint8).reshape(256, 256)
    grey = PIL.Image.fromarray(np.tile(noise, (-(-height // 256), -(-width // 256)))[:height, :width])
    image = grey if draw.random() < 0.5 else PIL.Image.merge("RGB", [grey] * 3)
    exif = PIL.Image.Exif()
    exif[274] = draw.randint(1, 8)
    return saved(image, "JPEG", quality=30, progressive=draw.random() < 0.5, exif=exif)


def bmp_runs(draw: random.Random) -> bytes:
    """A BMP of a large picture in a few runs, or none."""
    width, height = _side(draw)
    pixels = draw.choice(
        (b"\0\1", b"\xff\1" * 1000 + b"\0\1", b"\0\2\xff\xff" * 1000 + b"\0\1", b"\0\0" * 100_000, b"")
    )
    return bmp(draw, 40, draw.choice((4, 8)), width, height * draw.choice((1, -1)), draw.choice((1, 2)), pixels)


def bmp_large(draw: random.Random) -> bytes:
    """A BMP of a large picture whose pixels are not there, or are."""
    (width, height), bits = _side(draw), draw.choice((1, 8, 24, 32))
    size = -(-width * bits // 32) * 4 * height
    return bmp(draw, 40, bits, width, height, 0, bytes(size if size < 64 << 20 and draw.random() < 0.5 else 100))


def tiff_packed(draw: random.Random) -> bytes:
    """A TIFF of a large picture, packed, of 1 to 32 bits and several channels; one strip, or a tile of all."""
    (width, height), bits, channels = _side(draw), draw.choice((1, 8, 16, 32)), draw.choice((1, 3, 4))
    size = -(-width * bits * channels // 8) * height
    if draw.random() < 0.6:
        body, compression = _zeros(size), draw.choice((8, 32946))
    else:
        body, compression = (
            draw.choice((b"\x80\0\x08\x04", b"\x81\0" * 1000, b"")),
            draw.choice((5, 32773, 7, 4, 1, 34712)),
        )
    tags = tiff_tags(width, height, bits, channels, len(body), compression=compression)
    if draw.random() < 0.4:
        side = draw.choice((16, 4096, 65_520, 1 << 30))
        tags = [tag for tag in tags if tag[0] not in (273, 278, 279)] + [
            (322, 4, [side]),
            (323, 4, [side]),
            (324, 4, [16]),
            (325, 4, [len(body)]),
        ]
    if draw.random() < 0.3:
        tags += [(draw.choice((256, 257)), 4, [draw.choice((16, 64, 8000, 60_000))])]
    return tiff(draw.choice("<>"), [tags] * draw.choice((1, 1, 50)), body, draw.random() < 0.1)


def tiff_of_strips(draw: random.Random) -> bytes:
    """A TIFF that claims a great many strips, all at one place."""
    count = draw.choice((1000, 100_000))
    tags = [tag for tag in tiff_tags(64, 64, 8, 3, 192) if tag[0] not in (257, 273, 278, 279)]
    tags += [(257, 4, [count]), (278, 4, [1]), (273, 4, [16] * count), (279, 4, [192] * count)]
    return tiff("<", [tags], draw.randbytes(192))


def gif_large(draw: random.Random) -> bytes:
    """A GIF whose screen, or frame, is large; of one frame or thousands."""
    screen, frame = (
        draw.choice(((8000, 8000), (16, 16), (65_535, 65_535))),
        draw.choice(((8000, 8000), (16, 16), (65_535, 900))),
    )
    image = b"\x2c" + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x4c\x01\0"
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + bytes(6)
    return head + image * draw.choice((1, 1, 2, 5000)) + b"\x3b"


def webp_large(draw: random.Random) -> bytes:
    """A WebP of up to 16383 x 16383 in one colour."""
    height, width = draw.choice(((8000, 8000), (4000, 16_383), (16_383, 64), (9000, 9000)))
    image = np.zeros((height, width, 3), np.uint8)
    return cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, draw.choice((1, 101))])[1].tobytes()


def webp_of_frames(draw: random.Random) -> bytes:
    """An animated WebP of many frames on a large canvas."""
    side = draw.choice((64, 2000, 8000))
    frame = saved(PIL.Image.new("RGB", (16, 16)), "WEBP", lossless=True)[12:]
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + struct.pack("<I", side - 1)[:3] * 2
    body = bytes(6) + b"\x0f\0\0\x0f\0\0" + b"\x0a\0\0\0" + frame
    frames = (b"ANMF" + struct.pack("<I", len(body)) + body) * draw.choice((1, 20, 2000))
    data = b"WEBP" + canvas + b"ANIM" + struct.pack("<IIH", 6, 0, 0) + frames
    return b"RIFF" + struct.pack("<I", len(data)) + data


BOMBS: dict[str, Callable[[random.Random], bytes]] = {
    made.__name__: made
    for made in (
        png_of_zeros, png_promises, png_promises, jpeg_large, jpeg_of_scans, jpeg_real, bmp_runs, bmp_large,
        tiff_packed, tiff_of_strips, gif_large, webp_large, webp_of_frames,
    )
}  # fmt: skip
"""By name."""
