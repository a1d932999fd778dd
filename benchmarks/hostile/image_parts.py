"""Damage that knows what an image file is made of: segments, chunks, headers, tags."""

import random
import struct
import zlib
from collections.abc import Callable

from hostile.image_seeds import PNG_START, chunk, odd_exif
from hostile.inputs import odd_number, truncate

Parts = list[bytes]
Change = Callable[[random.Random, bytes], bytes]


def split(data: bytes) -> Parts:
    """The parts of an image file: joined again, they are the file. One part where nothing is known of its format."""
    try:
        if data[:2] == b"\xff\xd8":
            return _split_jpeg(data)
        if data[:8] == PNG_START:
            return [data[:8], *_split_chunks(data, 8, ">I", 12)]
        if data[:4] == b"RIFF":
            return [data[:12], *_split_chunks(data, 12, "<4xI", 8)]
        if data[:3] == b"GIF":
            return [data[:6], data[6:13], *(part + b"\x2c" for part in data[13:].split(b"\x2c"))]
    except struct.error:
        pass
    return [data]


def _split_jpeg(data: bytes) -> Parts:
    """Segments; a scan's data belong to its header."""
    parts, position = [data[:2]], 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        end = position + 2 + struct.unpack_from(">H", data, position + 2)[0]
        if data[position + 1] == 0xDA:
            while (end := data.find(b"\xff", end)) >= 0 and data[end + 1 : end + 2] in (
                b"\0",
                *(bytes([0xD0 + i]) for i in range(8)),
            ):
                end += 2
            end = len(data) if end < 0 else end
        parts.append(data[position:end])
        position = end
    return [*parts, data[position:]]


def _split_chunks(data: bytes, position: int, length: str, around: int) -> Parts:
    parts = []
    while position + around <= len(data):
        size = struct.unpack_from(length, data, position)[0]
        end = position + around + size + (size % 2 if around == 8 else 0)
        parts.append(data[position:end])
        position = end
    return [*parts, data[position:]]


# Of any format's parts.


def shuffle(draw: random.Random, data: bytes) -> bytes:
    """Put parts into another order, all but the first."""
    first, *rest = split(data)
    if draw.random() < 0.5:
        draw.shuffle(rest)
    elif len(rest) > 1:
        place = draw.randrange(len(rest) - 1)
        rest[place : place + 2] = rest[place + 1], rest[place]
    return first + b"".join(rest)


def drop(draw: random.Random, data: bytes) -> bytes:
    """Leave a part out."""
    parts = split(data)
    del parts[draw.randrange(len(parts))]
    return b"".join(parts)


def multiply(draw: random.Random, data: bytes) -> bytes:
    """Have a part many times."""
    parts = split(data)
    place = draw.randrange(len(parts))
    times = min(draw.choice((2, 3, 100, 5000)), 1 + (2 << 20) // max(1, len(parts[place])))
    return b"".join(parts[:place]) + parts[place] * times + b"".join(parts[place + 1 :])


def cut_part(draw: random.Random, data: bytes) -> bytes:
    """End a part too early, and go on with the next."""
    parts = split(data)
    place = draw.randrange(len(parts))
    if parts[place]:
        parts[place] = truncate(draw, parts[place])
    return b"".join(parts)


def wrong_length(draw: random.Random, data: bytes) -> bytes:
    """Have a part say another length than it has."""
    parts = split(data)
    place = draw.randrange(len(parts))
    part = bytearray(parts[place])
    code, at, size = (
        (">H", 2, 2) if data[:2] == b"\xff\xd8" else (">I", 0, 4) if data[:4] == PNG_START[:4] else ("<I", 4, 4)
    )
    if len(part) >= at + size:
        near = struct.unpack_from(code, part, at)[0] + draw.choice((-2, -1, 1, 2, 100))
        number = near if draw.random() < 0.4 else odd_number(draw)
        struct.pack_into(code, part, at, number & ((1 << 8 * size) - 1))
    parts[place] = bytes(part)
    return b"".join(parts)


# Of one format.


def _frames(data: bytes) -> list[int]:
    parts, place, found = split(data), 0, []
    for part in parts:
        if len(part) > 9 and part[0] == 0xFF and part[1] in range(0xC0, 0xD0) and part[1] not in (0xC4, 0xC8, 0xCC):
            found.append(place)
        place += len(part)
    return found


def jpeg_size(draw: random.Random, data: bytes) -> bytes:
    """Another size, sampling or number of components in a frame header."""
    for place in _frames(data)[:1]:
        changed = bytearray(data)
        if draw.random() < 0.7:
            struct.pack_into(">HH", changed, place + 5, odd_number(draw, 65535), odd_number(draw, 65535))
        else:
            at = place + draw.choice((4, 9, 10, 11, 12, 14, 17))
            if at < len(changed):
                changed[at] = draw.choice((0, 1, 4, 0x11, 0x14, 0x41, 0x44, 0xFF))
        return bytes(changed)
    return data


def jpeg_second_frame(draw: random.Random, data: bytes) -> bytes:
    """A second frame header of another size, with or without fill bytes, before or behind the first."""
    for place in _frames(data)[:1]:
        length = 2 + struct.unpack_from(">H", data, place + 2)[0]
        other = bytearray(data[place : place + length])
        struct.pack_into(">HH", other, 5, draw.choice((16, 64, 65000)), draw.choice((16, 64, 65000)))
        fill = b"\xff" * draw.choice((0, 1, 2, 7))
        if draw.random() < 0.5:
            return data[:place] + fill + bytes(other) + data[place:]
        return data[: place + length] + fill + bytes(other) + data[place + length :]
    return data


def jpeg_segment(draw: random.Random, data: bytes) -> bytes:
    """A segment that few have: application data, a comment, a number of lines, EXIF, one that looks like another."""
    body = draw.choice((
        b"", draw.randbytes(20), b"\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03\x01\x11\0\x02\x11\1\x03\x11\1",
        odd_exif(draw), b"Adobe\0\x64\0\0\0\0" + bytes([draw.randrange(4)]),
        b"ICC_PROFILE\0\x01\xff" + draw.randbytes(100),
        b"http://ns.adobe.com/xap/1.0/\0" + b"<x:" * 1000, bytes(65000),
    ))  # fmt: skip
    marker = draw.choice((0xE0, 0xE1, 0xE1, 0xE2, 0xEE, 0xFE, 0xDC, 0xDD, 0xDB, 0xC4, 0xCC, 0xF0, 0x01, 0xD8, 0xD9))
    parts = split(data)
    segment = bytes((0xFF, marker)) + struct.pack(">H", min(65535, len(body) + 2)) + body
    parts.insert(draw.randint(1, len(parts)), b"\xff" * draw.choice((0, 0, 0, 1, 3)) + segment)
    return b"".join(parts)


def png_header(draw: random.Random, data: bytes) -> bytes:
    """Another size, depth, colour type, compression or interlacing, with a right checksum."""
    header = bytearray(data[16:29])
    if len(header) < 13:
        return data
    if draw.random() < 0.5:
        struct.pack_into(
            ">II", header, 0, odd_number(draw), draw.choice((struct.unpack_from(">I", header, 4)[0], odd_number(draw)))
        )
    else:
        header[draw.randint(8, 12)] = draw.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    return data[:8] + chunk(b"IHDR", bytes(header)) + data[33:]


def png_chunk(draw: random.Random, data: bytes) -> bytes:
    """A chunk that few have: profiles and texts that unpack to much, palettes, transparency, animation."""
    bomb = zlib.compress(bytes(draw.choice((1000, 1 << 20, 8 << 20))), 1)
    name, body = draw.choice((
        (b"iCCP", b"a\0\0" + bomb), (b"zTXt", b"a\0\0" + bomb), (b"iTXt", b"a\0\1\0\0\0" + bomb),
        (b"tEXt", b"a\0" + bytes(1 << 16)),
        (b"PLTE", draw.randbytes(draw.choice((0, 1, 3, 768, 900)))),
        (b"tRNS", draw.randbytes(draw.choice((0, 1, 2, 6, 300)))),
        (b"acTL", struct.pack(">II", odd_number(draw), 0)),
        (b"fcTL", struct.pack(">IIIIIHHBB", 0, odd_number(draw), 16, 0, 0, 1, 1, 0, 0)),
        (b"fdAT", struct.pack(">I", 1) + draw.randbytes(50)), (b"eXIf", odd_exif(draw)[6:]),
        (b"gAMA", struct.pack(">I", odd_number(draw))),
        (b"cHRM", draw.randbytes(32)), (b"sBIT", draw.randbytes(4)), (b"IDAT", draw.randbytes(50)), (b"IDAT", bomb),
        (b"XXXX", b""),
        (b"IEND", b""), (b"sPLT", draw.randbytes(500)), (b"hIST", draw.randbytes(512)),
    ))  # fmt: skip
    parts = split(data)
    place = draw.randint(1, len(parts))
    return b"".join([*parts[:place], *[chunk(name, body)] * draw.choice((1, 1, 1, 2, 200)), *parts[place:]])


def png_pixels(draw: random.Random, data: bytes) -> bytes:
    """Other pixels: too few, too many, no zlib, a filter that is none, cut into chunks of nothing."""
    packed = b"".join(part[8:-4] for part in split(data) if part[4:8] == b"IDAT")
    try:
        rows = zlib.decompress(packed)
    except zlib.error:
        return data
    kind = draw.randrange(6)
    rows = rows[: draw.randrange(len(rows))] if kind == 0 else rows + bytes(4 << 20) if kind == 1 else rows
    rows = b"\x09" + rows[1:] if kind == 2 else rows
    packed = zlib.compress(rows, 0 if kind == 3 else 6)
    packed = draw.randbytes(100) if kind == 4 else packed
    size = draw.choice((1, 7, len(packed)))
    pixels = [
        chunk(b"IDAT", packed[at : at + size]) + (chunk(b"IDAT", b"") if kind == 5 else b"")
        for at in range(0, min(len(packed), 5000 * size), size)
    ]
    parts = split(data)
    first = next((place for place, part in enumerate(parts) if part[4:8] == b"IDAT"), len(parts))
    return b"".join([*parts[:first], *pixels, *(part for part in parts[first:] if part[4:8] != b"IDAT")])


def png_checksum(draw: random.Random, data: bytes) -> bytes:
    """A wrong checksum of a chunk."""
    parts = split(data)
    place = draw.randrange(len(parts))
    parts[place] = parts[place][:-1] + bytes([draw.randrange(256)])
    return b"".join(parts)


def webp_header(draw: random.Random, data: bytes) -> bytes:
    """Another canvas, other flags, a frame larger than the canvas, a canvas in front of a bare frame."""
    if draw.random() < 0.5 and data[12:16] != b"VP8X":
        side = draw.choice((15, 100, 7999, 16383, (1 << 24) - 1))
        canvas = (
            b"VP8X" + struct.pack("<I", 10) + bytes([draw.getrandbits(6), 0, 0, 0]) + struct.pack("<I", side)[:3] * 2
        )
        body = data[8:12] + canvas + data[12:]
        return b"RIFF" + struct.pack("<I", len(body)) + body
    changed = bytearray(data)
    place = draw.choice((4, 16, 20, 24, 26, 27, 28))
    if len(changed) > place + 4:
        struct.pack_into("<I", changed, place, odd_number(draw))
    return bytes(changed)


def bmp_header(draw: random.Random, data: bytes) -> bytes:
    """Another field of the header."""
    changed = bytearray(data)
    code, place = draw.choice((("<I", 2), ("<I", 10), ("<I", 14), ("<I", 18), ("<I", 22), ("<H", 26), ("<H", 28),
        ("<I", 30), ("<I", 34), ("<I", 46), ("<I", 54)))  # fmt: skip
    if len(changed) >= place + 4:
        odd = (
            draw.choice((0, 1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 40, 64, 65535))
            if code == "<H" or place == 30
            else odd_number(draw)
        )
        struct.pack_into(code, changed, place, odd)
    return bytes(changed)


def tiff_tag(draw: random.Random, data: bytes) -> bytes:
    """Another tag, type, count or value in a directory; the same tag twice; a directory that follows itself."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        start = struct.unpack_from(order + "I", data, 4)[0]
        count = struct.unpack_from(order + "H", data, start)[0]
        changed, entry = bytearray(data), start + 2 + 12 * draw.randrange(max(1, count))
        kind = draw.randrange(7)
        if kind == 0:
            struct.pack_into(
                order + "H",
                changed,
                entry,
                draw.choice((256, 257, 258, 259, 262, 273, 277, 278, 322, 324, 330, 338, 339, 347, 34665)),
            )
        elif kind == 1:
            struct.pack_into(
                order + "H", changed, entry + 2, draw.choice((0, 1, 2, 3, 4, 5, 7, 9, 12, 13, 16, 18, 65535))
            )
        elif kind == 2:
            struct.pack_into(order + "I", changed, entry + 4, odd_number(draw))
        elif kind == 3:
            struct.pack_into(order + "I", changed, entry + 8, odd_number(draw))
        elif kind == 4:
            struct.pack_into(order + "HH", changed, entry + 8, odd_number(draw, 65535), odd_number(draw, 65535))
        elif kind == 5:
            changed[entry : entry + 12] = changed[start + 2 : start + 14]
        else:
            struct.pack_into(
                order + "I", changed, start + 2 + 12 * count, draw.choice((start, 0, 8, len(data), odd_number(draw)))
            )
        return bytes(changed)
    except struct.error:
        return data


def gif_header(draw: random.Random, data: bytes) -> bytes:
    """Another size of screen or frame, other flags."""
    changed = bytearray(data)
    frame = data.find(b"\x2c", 13)
    place = draw.choice((6, 8, 10, *([frame + 1, frame + 5, frame + 7, frame + 9] if frame > 0 else [])))
    if len(changed) > place + 2:
        struct.pack_into("<H", changed, place, odd_number(draw, 65535))
    return bytes(changed)


COMMON: tuple[Change, ...] = (shuffle, drop, multiply, cut_part, wrong_length)

OWN: dict[bytes, tuple[Change, ...]] = {
    b"\xff\xd8": (jpeg_size, jpeg_second_frame, jpeg_segment, jpeg_segment),
    b"\x89P": (png_header, png_chunk, png_pixels, png_checksum),
    b"RI": (webp_header, webp_header), b"BM": (bmp_header,) * 4, b"GI": (gif_header, gif_header),
    b"II": (tiff_tag,) * 5, b"MM": (tiff_tag,) * 5,
}  # fmt: skip
"""By a file's first two bytes."""


def mutate_parts(draw: random.Random, data: bytes) -> tuple[bytes, str]:
    """One or two of these mutations, and their names."""
    names = []
    for _ in range(draw.choice((1, 1, 2))):
        if len(data) > 40:
            change = draw.choice(COMMON + 2 * OWN.get(data[:2], ()))
            data = change(draw, data)
            names.append(change.__name__)
    return data, "+".join(names)
