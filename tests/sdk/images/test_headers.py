"""The decoder gets the picture that was measured, and no file costs more than a usual one."""

import struct
import sys
import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sdk import ImageError
from sdk.images.decoding import load_image
from sdk.images.headers.formats import foreign_format, is_readable
from sdk.images.headers.jpeg import FREE_VISITS, MOST_SEGMENTS
from sdk.images.headers.reading import read_header
from sdk.images.headers.tiff import MOST_CHUNKS

NOISE = np.random.default_rng(3).integers(0, 256, (48, 72, 3), np.uint8)


def pil_bytes(kind: str, **options: object) -> bytes:
    """Return `NOISE`, encoded by PIL."""
    stream = BytesIO()
    Image.fromarray(NOISE).save(stream, kind, **options)
    return stream.getvalue()


BASELINE = pil_bytes("JPEG")
FRAME = BASELINE[BASELINE.find(b"\xff\xc0") :][:19]
PROGRESSIVE = pil_bytes("JPEG", progressive=True)


def resized(jpeg: bytes, width: int, height: int) -> bytes:
    """Return a JPEG whose frame header says another size."""
    at = jpeg.find(b"\xff\xc2") if b"\xff\xc2" in jpeg else jpeg.find(b"\xff\xc0")
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes, width: int = 40, height: int = 30) -> bytes:
    """Return a grey PNG of 8 bits with the given chunks."""
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + b"".join(chunks)
    )


PIXELS = chunk(b"IDAT", zlib.compress(bytes(30 * 41)))
END = chunk(b"IEND", b"")


def tiff(*fields: tuple[int, int, int, int], order: str = "<") -> bytes:
    """Return a TIFF of 40 x 30 grey pixels in one strip; `fields` (tag, type, count, value) replace the usual ones."""
    usual = {256: (4, 1, 40), 257: (4, 1, 30), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)}
    usual |= {273: (4, 1, 8), 277: (3, 1, 1), 278: (4, 1, 30), 279: (4, 1, 1200)}
    rows = [(tag, *rest) for tag, rest in usual.items() if tag not in {field[0] for field in fields}] + list(fields)
    body = b"".join(
        struct.pack(order + ("HHIHH" if kind == 3 else "HHII"), tag, kind, count, value, *([0] if kind == 3 else []))
        for tag, kind, count, value in sorted(rows)
    )
    start = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8 + 1200)
    return start + bytes(range(200)) * 6 + struct.pack(order + "H", len(rows)) + body + bytes(4)


@pytest.mark.parametrize("place", [b"\xff\xdb", b"\xff\xc0", b"\xff\xda"])
@pytest.mark.parametrize("filling", [b"\xff" * 999, b"\xff\0" * 99, b"\xff\xd3" * 99, b"\0\xc0\0\x11\x08\0\x09\0\x09"])
def test_jpeg_size_is_the_decoder_s_whatever_lies_between_the_segments(filling: bytes, place: bytes) -> None:
    data = BASELINE.replace(place, filling + place, 1)
    assert read_header(data)[1:3] == (72, 48)
    np.testing.assert_array_equal(load_image(data), load_image(BASELINE))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("two frames", BASELINE.replace(FRAME, FRAME + FRAME), "two frame headers"),
        ("no length", BASELINE[:2] + b"\xff\xe1\0\1" + BASELINE[2:], "at least 2"),
        ("comments", BASELINE[:2] + b"\xff\xfe\0\2" * MOST_SEGMENTS + BASELINE[2:], "segments"),
        ("arithmetic", BASELINE.replace(b"\xff\xc0", b"\xff\xc9", 1), "rare kind"),
        ("lossless", BASELINE.replace(b"\xff\xc0", b"\xff\xc3", 1), "rare kind"),
        ("12 bits", BASELINE.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c", 1), "rare kind"),
        ("unknown marker", BASELINE[:2] + b"\xff\x2a" + BASELINE[2:], "0x2a"),
        ("start only", b"\xff\xd8" + bytes(5000), "truncated"),
    ],
)
def test_jpegs_that_are_refused(name: str, data: bytes, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=message):
        load_image(data)


def test_scans_are_paid_for_by_their_blocks() -> None:
    first = PROGRESSIVE.find(b"\xff\xda")
    scan = PROGRESSIVE[first : PROGRESSIVE.find(b"\xff\xc4", first)]  # of all three components
    blocks = 6000 * 6000 // 64 * 3 // 2
    spare = max(FREE_VISITS, 10 * blocks) // blocks - 6

    def repeated(count: int) -> bytes:
        return resized(PROGRESSIVE[:-2] + scan * count + b"\xff\xd9", 6000, 6000)

    assert read_header(PROGRESSIVE).complete
    assert read_header(repeated(spare // 2)).width == 6000
    with pytest.raises(ImageError, match="too many scans"):
        read_header(repeated(2 * spare))


def test_progressive_jpeg_counts_with_its_coefficients() -> None:
    baseline, progressive = (read_header(resized(data, 8000, 6000)).memory for data in (BASELINE, PROGRESSIVE))
    assert 6 * 8000 * 6000 <= baseline < 6.1 * 8000 * 6000
    assert progressive >= (3 + 2 * 1.5) * 8000 * 6000


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("two headers", png(png()[8:], PIXELS, END), "two headers"),
        ("no header", png(PIXELS, END)[:8] + chunk(b"tEXt", b"a\0b") + png(PIXELS, END)[8:], "begin"),
        ("a text that claims 2 GB", png(b"\x7f\xff\xff\xfftEXta\0b", PIXELS, END), "truncated"),
        ("pixels that claim 1 GB", png(b"\x3f\xff\xff\xffIDAT" + bytes(50), END), "truncated"),
        ("no end", png(PIXELS), "truncated"),
        ("a bomb", png(chunk(b"IDAT", zlib.compress(bytes(5 << 20))), END), "unpack"),
    ],
)
def test_pngs_that_are_refused(name: str, data: bytes, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr("sdk.images.headers.png._HARMLESS", 1 << 20)
    with pytest.raises(ImageError, match=message):
        load_image(data)


def test_png_decoder_gets_nothing_but_the_picture() -> None:
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 20)))
    assert read_header(png(text, text, PIXELS, text, END) + b"behind the end").data == png(PIXELS, END)
    assert load_image(png(text, PIXELS, END)).shape == (30, 40, 3)


def test_png_with_data_behind_its_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.images.headers.png._HARMLESS", 1 << 10)
    assert load_image(png(PIXELS, *[chunk(b"IDAT", bytes(300))] * 5, END)).shape == (30, 40, 3)


@pytest.mark.skipif(not cv2.haveImageWriter(".gif"), reason="this OpenCV reads no GIF")
def test_gif_decoder_gets_the_first_frame() -> None:
    alone = pil_bytes("GIF")
    frames = [Image.fromarray(np.roll(NOISE, index, 0)) for index in range(1, 6)]
    film = pil_bytes("GIF", save_all=True, append_images=frames)
    assert len(read_header(film).data) < 1.2 * len(alone) < len(film) / 2
    np.testing.assert_array_equal(load_image(film), load_image(alone))


def test_gif_with_a_frame_larger_than_itself() -> None:
    data = bytearray(pil_bytes("GIF"))
    data[6:10] = struct.pack("<HH", 32, 32)
    with pytest.raises(ImageError, match="larger than the GIF"):
        load_image(bytes(data))


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_decoder_gets_the_directory_that_was_read(order: str) -> None:
    data = tiff((700, 1, 1 << 30, 8), (34665, 4, 1, 8), order=order)  # XMP of 1 GB, an EXIF directory
    header = read_header(data)
    assert header[:3] == ("TIFF", 40, 30)
    plain = load_image(data)
    np.testing.assert_array_equal(plain[..., 0], np.frombuffer(bytes(range(200)) * 6, np.uint8).reshape(30, 40))
    assert header.data[8 : 8 + 1200] == data[8 : 8 + 1200]
    assert b"\x02\xbc" not in header.data[len(data) :]


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("two widths", [(256, 4, 1, 40), (256, 4, 1, 9000)], "field 256 twice"),
        ("no width", [(256, 2, 0, 0)], "0 x 30"),
        ("many widths", [(256, 3, 2, 40)], "holds 2 numbers"),
        ("too many strips", [(257, 4, 1, MOST_CHUNKS + 1), (278, 4, 1, 1)], "strips or tiles"),
        ("tiles of nothing", [(322, 4, 1, 0), (323, 4, 1, 16)], "0 x 16"),
        ("one huge tile", [(322, 4, 1, 1 << 15), (323, 4, 1, 1 << 15)], "MB to decode"),
        ("JPEG within", [(259, 3, 1, 7)], "method 7"),
        ("32 bits", [(258, 3, 1, 32)], "bits"),
        ("signed", [(339, 3, 1, 2)], "integers"),
        ("CIELab", [(262, 3, 1, 8)], "kind 8"),
    ],
)
def test_tiffs_that_are_refused(
    name: str, fields: list[tuple[int, int, int, int]], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=message):
        load_image(tiff(*fields))


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\0\0\0\x18ftypavif", "AVIF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x0a\0\0", "JPEG XL"),
        (b"\x76\x2f\x31\x01", "OpenEXR"),
        (b"II+\0\x08\0\0\0", "BigTIFF"),
        (b"8BPS\0\x01", "Photoshop"),
        (b"<?xml version='1.0'?><svg>", "SVG"),
    ],
)
def test_other_formats_are_named_and_never_decoded(head: bytes, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert foreign_format(head) == name
    assert not is_readable(head)
    with pytest.raises(ImageError, match=f"this is a {name} image"):
        load_image(head + bytes(100))


@pytest.mark.parametrize("suffix", [".pbm", ".ppm", ".pfm", ".hdr", ".ras", ".jp2"])
def test_what_opencv_would_read_besides_is_refused(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = NOISE.astype(np.float32) if suffix in (".pfm", ".hdr") else NOISE[..., :1] if suffix == ".pbm" else NOISE
    data = cv2.imencode(suffix, image)[1].tobytes()
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"this is (not an image|a JPEG 2000|a Radiance)"):
        load_image(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_readable_formats_are_recognised(kind: str) -> None:
    assert is_readable(pil_bytes(kind)[:64])


def test_bmp_with_the_old_header() -> None:
    data = struct.pack("<2sIHHIIHHHH", b"BM", 0, 0, 0, 26, 12, 40, 30, 1, 24) + bytes(range(240)) * 15
    assert read_header(data)[:3] == ("BMP", 40, 30)
    assert load_image(data).shape == (30, 40, 3)


SEEDS = [BASELINE, PROGRESSIVE, *(pil_bytes(kind) for kind in ("PNG", "WEBP", "BMP", "TIFF", "GIF"))]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SEEDS), st.integers(0, 300), st.binary(max_size=12), st.integers(0, 12))
def test_any_bytes_are_a_picture_of_the_measured_size_or_an_image_error(
    seed: bytes, place: int, change: bytes, removed: int
) -> None:
    data = seed[:place] + change + seed[place + removed :]
    try:
        header = read_header(data)
        image = load_image(data, max_pixels=1_000_000)
    except ImageError:
        return
    assert sorted(image.shape[:2]) == sorted((header.height, header.width))
