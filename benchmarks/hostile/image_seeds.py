"""Good images of every kind, small, made in code: what damage is done to."""

import io
import random
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

Make = Callable[[random.Random], bytes]


def picture(draw: random.Random, mode: str = "RGB", most: int = 96) -> PIL.Image.Image:
    """Smooth noise of a random size in a mode of PIL."""
    width, height = draw.randint(16, most), draw.randint(16, most)
    noise = np.frombuffer(draw.randbytes(8 * 8 * 3), np.uint8).reshape(8, 8, 3)
    image = PIL.Image.fromarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))
    if mode.startswith("I;16"):
        return PIL.Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return image.convert(mode)


def saved(image: PIL.Image.Image, form: str, **options: object) -> bytes:
    """An image as PIL writes it."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def _pil(form: str, mode: str = "RGB", **options: object) -> Make:
    return lambda draw: saved(picture(draw, mode), form, **options)


# JPEG


def exif(draw: random.Random, orientation: int) -> bytes:
    """An EXIF block of either byte order with an orientation and some other tags."""
    order = draw.choice("<>")
    tags = [(274, 3, 1, orientation), (271, 2, 4, draw.getrandbits(16)), (282, 5, 1, 8), (34665, 4, 1, 8)]
    draw.shuffle(tags)
    tags = tags[: draw.randint(1, 4)]
    if all(tag[0] != 274 for tag in tags):
        tags.append((274, 3, 1, orientation))
    body = struct.pack(order + "H", len(tags))
    for tag, kind, count, value in tags:
        place = struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
        body += struct.pack(order + "HHI", tag, kind, count) + place
    start = b"II*\0" if order == "<" else b"MM\0*"
    return b"Exif\0\0" + start + struct.pack(order + "I", 8) + body + b"\0\0\0\0"


def odd_exif(draw: random.Random) -> bytes:
    """An EXIF block with something wrong in it."""
    block = bytearray(exif(draw, draw.choice((0, 1, 6, 9, 255, 65535))))
    for _ in range(draw.randint(1, 4)):
        block[draw.randrange(6, len(block))] = draw.choice((0, 1, 8, 0x7F, 0xFF, draw.randrange(256)))
    return bytes(block) if draw.random() < 0.8 else bytes(block[: draw.randint(0, len(block))])


def _jpeg_with_exif(draw: random.Random) -> bytes:
    return saved(picture(draw), "JPEG", exif=exif(draw, draw.randint(1, 8)))


def _jpeg_with_odd_exif(draw: random.Random) -> bytes:
    data = saved(picture(draw), "JPEG")
    block = odd_exif(draw)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(block)) + block + data[2:]


def _jpeg_of_another_process(draw: random.Random) -> bytes:
    """Lossless, arithmetic, hierarchical or of 12 bits, as its header says."""
    data = bytearray(saved(picture(draw), "JPEG", progressive=draw.random() < 0.5))
    place = next(place for marker in (b"\xff\xc0", b"\xff\xc2") if (place := data.find(marker)) > 0)
    data[place + 1] = draw.choice((0xC1, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF))
    if draw.random() < 0.5:
        data[place + 4] = draw.choice((2, 12, 16, 255))
    return bytes(data)


# PNG


def chunk(name: bytes, data: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def png(draw: random.Random, width: int, height: int, depth: int, colour: int, interlaced: bool) -> bytes:
    """A PNG of random samples."""
    bits = depth * PNG_CHANNELS[colour]
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = bytearray()
    for x, y, across, down in passes if interlaced else ((0, 0, 1, 1),):
        columns, lines = -(-(width - x) // across), -(-(height - y) // down)
        if columns > 0:
            for _ in range(max(0, lines)):
                rows += bytes([draw.randrange(5)]) + draw.randbytes(-(-columns * bits // 8))
    data = PNG_START + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    if colour == 3:
        data += chunk(b"PLTE", draw.randbytes(3 * draw.choice((1 << depth, 1 << depth, 1))))
    if draw.random() < 0.3 and colour in (0, 2, 3):
        data += chunk(b"tRNS", draw.randbytes({0: 2, 2: 6, 3: 1}[colour]))
    packed = zlib.compress(bytes(rows), 1)
    cut = draw.randrange(len(packed))
    return data + chunk(b"IDAT", packed[:cut]) + chunk(b"IDAT", packed[cut:]) + chunk(b"IEND", b"")


def _any_png(draw: random.Random) -> bytes:
    colour = draw.choice(list(PNG_DEPTHS))
    size = draw.randint(16, 64), draw.randint(16, 64)
    return png(draw, *size, draw.choice(PNG_DEPTHS[colour]), colour, draw.random() < 0.4)


def _apng(draw: random.Random) -> bytes:
    first = picture(draw)
    return saved(first, "PNG", save_all=True, append_images=[first.rotate(90), first.rotate(180)], duration=10)


# WebP


def _webp_animated(draw: random.Random) -> bytes:
    first = picture(draw)
    return saved(first, "WEBP", save_all=True, append_images=[first.rotate(180)], duration=10, lossless=True)


def _webp_with_exif(draw: random.Random) -> bytes:
    return saved(picture(draw), "WEBP", exif=exif(draw, draw.randint(0, 9))[draw.choice((0, 6)) :])


# BMP


def bmp(draw: random.Random, head: int, bits: int, width: int, height: int, packing: int, pixels: bytes) -> bytes:
    """A BMP with a header of a size of OS/2's or Windows'."""
    colours = draw.randbytes(4 << bits) if bits <= 8 else b""
    if head == 12:
        colours = colours[: 3 << bits]
        info = struct.pack("<IHHHH", 12, width & 0xFFFF, abs(height) & 0xFFFF, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", head, width, height, 1, bits, packing, len(pixels), 0, 0, 0, 0)
        masks = (
            struct.pack("<IIII", 0xF800, 0x7E0, 0x1F, 0)
            if bits == 16
            else struct.pack("<IIII", 255 << 16, 255 << 8, 255, 255 << 24)
        )
        info += masks.ljust(head - 40, b"\0")[: head - 40]
        if head == 40 and packing == 3:
            colours = masks[:12] + colours
    start = 14 + len(info) + len(colours)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + info + colours + pixels


def run_lengths(draw: random.Random, width: int, height: int, four: bool) -> bytes:
    """Pixels of a BMP in RLE8 or RLE4: runs, absolute parts, moves."""
    out = bytearray()
    for _ in range(height):
        left = width
        while left > 0:
            count = min(left, draw.randint(3, 40))
            if draw.random() < 0.3:
                length = -(-count // 2) if four else count
                out += bytes((0, count)) + draw.randbytes(length + length % 2)
            else:
                out += bytes((count, draw.randrange(256)))
            left -= count
        out += b"\0\0" if draw.random() < 0.95 else bytes((0, 2, draw.randrange(9), 1))
    return bytes(out + b"\0\1")


def _any_bmp(draw: random.Random) -> bytes:
    width, height = draw.randint(16, 64), draw.randint(16, 64)
    if draw.random() < 0.3:
        four = draw.random() < 0.5
        return bmp(draw, 40, 4 if four else 8, width, height, 2 if four else 1, run_lengths(draw, width, height, four))
    bits, head = draw.choice((1, 4, 8, 16, 24, 32)), draw.choice((12, 40, 40, 52, 56, 64, 108, 124))
    row = -(-width * bits // 32) * 4
    packing = 3 if bits in (16, 32) and head > 12 and draw.random() < 0.5 else 0
    return bmp(draw, head, bits, width, height * draw.choice((1, 1, -1)), packing, draw.randbytes(row * height))


# TIFF

TIFF_CODES = {1: "B", 3: "H", 4: "I", 16: "Q"}


def tiff(order: str, directories: list[list[tuple[int, int, list[int]]]], pixels: bytes, big: bool = False) -> bytes:
    """A TIFF, or BigTIFF, of directories of (tag, type, values); pixels stand at byte 16.

    Args:
        order: `<` or `>`.
        directories: One a page; types are those of `TIFF_CODES`.
        pixels: Behind the header.
        big: BigTIFF.
    """
    number, count, inside = (order + "Q", order + "Q", 8) if big else (order + "I", order + "H", 4)
    out = bytearray((b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42))
    out += struct.pack(order + "HH", 8, 0) if big else b""
    link = len(out)
    out += struct.pack(number, 0)
    out = out.ljust(16, b"\0") + pixels + bytes(-len(pixels) % 16)
    for tags in directories:
        entries = []
        for tag, kind, values in sorted(tags):
            body = b"".join(struct.pack(order + TIFF_CODES[kind], value) for value in values)
            if len(body) > inside:
                place, body = len(out), body + bytes(-len(body) % 8)
                out += body
                body = struct.pack(number, place)
            length = struct.pack(number, len(values))
            entries.append(struct.pack(order + "HH", tag, kind) + length + body.ljust(inside, b"\0"))
        struct.pack_into(number, out, link, len(out))
        out += struct.pack(count, len(entries)) + b"".join(entries)
        link = len(out)
        out += struct.pack(number, 0)
    return bytes(out)


def tiff_tags(
    width: int, height: int, bits: int, channels: int, size: int, **more: int
) -> list[tuple[int, int, list[int]]]:
    """Tags of a picture in one strip at byte 16; `more` sets `compression`, `planar`, `floating`, `orientation`."""
    colour = 2 if channels >= 3 else 1
    tags = [
        (256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * channels), (259, 3, [more.get("compression", 1)]),
        (262, 3, [more.get("colour", colour)]), (273, 4, [16]), (277, 3, [channels]), (278, 4, [height]),
        (279, 4, [size]),
    ]  # fmt: skip
    if "planar" in more:
        tags.append((284, 3, [more["planar"]]))
    if "floating" in more:
        tags.append((339, 3, [more["floating"]] * channels))
    if "orientation" in more:
        tags.append((274, 3, [more["orientation"]]))
    return tags


def _any_tiff(draw: random.Random) -> bytes:
    width, height = draw.randint(16, 64), draw.randint(16, 64)
    bits, channels = draw.choice((8, 8, 16, 32, 1, 4)), draw.choice((1, 3, 4, 2, 5))
    more: dict[str, int] = {}
    if draw.random() < 0.2:
        more["floating"] = draw.choice((1, 2, 3, 4))
    if draw.random() < 0.2:
        more["orientation"] = draw.randint(0, 9)
    size = -(-width * bits * channels // 8) * height
    tags = tiff_tags(width, height, bits, channels, size, **more)
    if draw.random() < 0.2:
        plane = -(-width * bits // 8) * height
        tags = [tag for tag in tags if tag[0] not in (273, 279)] + [
            (284, 3, [2]), (273, 4, [16 + plane * i for i in range(channels)]), (279, 4, [plane] * channels),
        ]  # fmt: skip
        size = plane * channels
    elif draw.random() < 0.3:
        size = -(-16 * bits * channels // 8) * 16
        tiles = -(-width // 16) * -(-height // 16)
        tags = [tag for tag in tags if tag[0] not in (273, 278, 279)] + [
            (322, 4, [16]), (323, 4, [16]), (324, 4, [16 + size * i for i in range(tiles)]), (325, 4, [size] * tiles),
        ]  # fmt: skip
        size *= tiles
    pages = [tags] * draw.choice((1, 1, 1, 2, 5))
    return tiff(draw.choice("<>"), pages, draw.randbytes(size), draw.random() < 0.2)


def _tiff_of_pages(draw: random.Random) -> bytes:
    first = picture(draw)
    return saved(first, "TIFF", save_all=True, append_images=[first.rotate(90)], compression="tiff_lzw")


# GIF


def _gif_animated(draw: random.Random) -> bytes:
    first = picture(draw, "P")
    return saved(first, "GIF", save_all=True, append_images=[picture(draw, "P"), first.rotate(90)], loop=0)


SEEDS: dict[str, Make] = {
    "jpeg": _pil("JPEG"), "jpeg-444": _pil("JPEG", subsampling=0), "jpeg-grey": _pil("JPEG", "L"),
    "jpeg-cmyk": _pil("JPEG", "CMYK"), "jpeg-progressive": _pil("JPEG", progressive=True),
    "jpeg-restarts": _pil("JPEG", restart_marker_blocks=1), "jpeg-exif": _jpeg_with_exif,
    "jpeg-odd-exif": _jpeg_with_odd_exif, "jpeg-other-process": _jpeg_of_another_process,
    "png": _any_png, "png-alpha": _pil("PNG", "RGBA"), "png-palette": _pil("PNG", "P"),
    "png-bits": _pil("PNG", "1"), "png-16": _pil("PNG", "I;16"), "apng": _apng,
    "webp": _pil("WEBP"), "webp-lossless": _pil("WEBP", lossless=True), "webp-alpha": _pil("WEBP", "RGBA"),
    "webp-animated": _webp_animated, "webp-exif": _webp_with_exif, "bmp": _any_bmp,
    "tiff": _any_tiff, "tiff-lzw": _pil("TIFF", compression="tiff_lzw"),
    "tiff-deflate": _pil("TIFF", "RGBA", compression="tiff_adobe_deflate"),
    "tiff-jpeg": _pil("TIFF", compression="jpeg"),
    "tiff-packbits": _pil("TIFF", "L", compression="packbits"), "tiff-fax": _pil("TIFF", "1", compression="group4"),
    "tiff-cmyk": _pil("TIFF", "CMYK"), "tiff-float": _pil("TIFF", "F"), "tiff-palette": _pil("TIFF", "P"),
    "tiff-16": _pil("TIFF", "I;16", compression="tiff_lzw"), "tiff-pages": _tiff_of_pages,
    "tiff-big": _pil("TIFF", big_tiff=True), "gif": _pil("GIF", "P"), "gif-animated": _gif_animated,
    "gif-interlaced": _pil("GIF", "L", interlace=1),
}  # fmt: skip
"""By name."""


def samples(draw: random.Random, shape: tuple[int, ...], kind: str) -> NDArray[np.generic]:
    """An array of any type, of random bytes."""
    count = int(np.prod(shape)) * np.dtype(kind).itemsize
    return np.frombuffer(draw.randbytes(count), kind).reshape(shape)
