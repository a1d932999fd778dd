"""Headers of damaged images: the size is that of the decoder, and no error but an ImageError is raised."""

import io
import struct
from contextlib import suppress

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.errors import ImageError
from sdk.images.decoding import MAX_PIXELS, load_image
from sdk.images.headers.reading import read_header
from tests.support.strategies import MANY, SOME

STARTS = (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"BM", b"II*\0", b"MM\0*", b"GIF89a")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")


def encoded(form: str, width: int, height: int, **options: object) -> bytes:
    """Return a picture, encoded by PIL."""
    out = io.BytesIO()
    PIL.Image.fromarray(np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)).save(
        out, form, **options
    )
    return out.getvalue()


def check_loaded(data: bytes) -> None:
    """Load an image and check its shape, type and size. An ImageError is accepted, too."""
    try:
        image = load_image(data)
    except ImageError:
        return
    assert (image.dtype, image.ndim, image.shape[2]) == (np.uint8, 3, 3)
    assert image.flags.c_contiguous
    assert min(image.shape[:2]) >= 16
    assert image.shape[0] * image.shape[1] <= MAX_PIXELS
    header = read_header(data)
    assert sorted(image.shape[:2]) == sorted((header.width, header.height))  # EXIF may turn the image


@MANY
@given(st.sampled_from(STARTS), st.binary(max_size=400))
def test_any_bytes_behind_a_start(start: bytes, rest: bytes) -> None:
    with suppress(ImageError):
        header = read_header(start + rest)
        assert header.width >= 0
        assert header.height >= 0
    check_loaded(start + rest)


@SOME
@given(st.sampled_from(FORMATS), st.integers(16, 70), st.integers(16, 70))
def test_a_good_file_has_its_size(form: str, width: int, height: int) -> None:
    data = encoded(form, width, height)
    header = read_header(data)
    assert (header.width, header.height, header.complete) == (width, height, True)
    if form != "GIF" or cv2.haveImageWriter(".gif"):  # OpenCV 4.10 reads no GIF
        assert load_image(data).shape == (height, width, 3)


@MANY
@given(
    st.sampled_from(FORMATS),
    st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 1 << 30),
)
def test_a_damaged_file(form: str, changes: list[tuple[int, int]], end: int) -> None:
    data = bytearray(encoded(form, 33, 20))
    for place, value in changes:
        data[place % min(len(data), 160)] = value  # the header is at the start
    check_loaded(bytes(data) if end % 3 else bytes(data[: end % len(data)]))


@SOME
@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 4), st.booleans())
def test_jpeg_with_a_second_frame_header(width: int, height: int, fill: int, before: bool) -> None:
    data = encoded("JPEG", 64, 48)
    place = data.find(b"\xff\xc0")
    length = 2 + struct.unpack_from(">H", data, place + 2)[0]
    other = bytearray(data[place : place + length])
    struct.pack_into(">HH", other, 5, height, width)
    at = place if before else place + length
    check_loaded(data[:at] + b"\xff" * fill + bytes(other) + data[at:])


@SOME
@given(st.binary(max_size=120), st.integers(0, 65535))
def test_any_exif(block: bytes, orientation: int) -> None:
    body = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + struct.pack("<HH", orientation, 0) + block
    jpeg = encoded("JPEG", 40, 24)
    data = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(body)) + body + jpeg[2:]
    turned = 5 <= orientation <= 8
    image = load_image(data)
    assert image.shape == ((40, 24, 3) if turned else (24, 40, 3))
    assert load_image(PIL.Image.open(io.BytesIO(data))).shape == image.shape


@pytest.mark.parametrize("order", ["<", ">"])
@SOME
@given(values=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 4), st.integers(0, 300)), max_size=6))
def test_tiff_of_any_tags(order: str, values: list[tuple[int, int, int]]) -> None:
    tags = [
        (256, 3, 1, 20),
        (257, 3, 1, 20),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (278, 3, 1, 20),
        (279, 4, 1, 400),
    ]
    for place, kind, value in values:
        if place <= len(tags):
            tags[place - 1] = (tags[place - 1][0], kind, 1, value)
    body = b"".join(
        struct.pack(
            order + "HHI" + ("HH" if kind == 3 else "I"), tag, kind, count, *((value, 0) if kind == 3 else (value,))
        )
        for tag, kind, count, value in tags
    )
    pixels = bytes(range(200)) * 2
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(pixels))
    check_loaded(head + pixels + struct.pack(order + "H", len(tags)) + body + bytes(4))


@SOME
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.sampled_from(["u1", "<u2", ">u2"]), st.integers(-1, 1)
)
def test_arrays(height: int, width: int, channels: int, kind: str, step: int) -> None:
    array = (np.arange(height * width * channels).reshape(height, width, channels) % 251).astype(kind)
    if np.dtype(kind).itemsize == 2:
        array *= 256
    array = array[::step] if step else array.swapaxes(0, 1)
    if min(array.shape[:2]) < 16 or channels == 2:
        with pytest.raises(ImageError):
            load_image(array)
        return
    found = load_image(array)
    wanted = (array // 256 if np.dtype(kind).itemsize == 2 else array)[..., :3]
    np.testing.assert_array_equal(found, np.broadcast_to(wanted, found.shape))
    assert found.flags.c_contiguous


def test_opencv_agrees_on_a_reference() -> None:
    data = encoded("PNG", 50, 30)
    np.testing.assert_array_equal(load_image(data), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
