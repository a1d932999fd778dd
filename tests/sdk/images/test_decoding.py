"""Images that are read, and images that are refused."""

import struct
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sdk import ImageError
from sdk.images.decoding import MAX_PIXELS, load_image
from sdk.images.headers.reading import read_header

RAMP = np.linspace(0, 255, 40 * 60 * 3).astype(np.uint8).reshape(40, 60, 3)
GREY = RAMP[..., 0]
DEEP = np.linspace(0, 65535, 40 * 60 * 3).astype(np.uint16).reshape(40, 60, 3)
LOSSLESS = (".png", ".bmp", ".tiff", ".webp")
FORMATS = {".jpg": "JPEG", ".png": "PNG", ".webp": "WebP", ".bmp": "BMP", ".tiff": "TIFF"}


def encode(image: np.ndarray, suffix: str = ".png", options: Sequence[int] = ()) -> bytes:
    """Return an encoded image."""
    return cv2.imencode(suffix, image, options)[1].tobytes()


def pil_bytes(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return an image, encoded by PIL."""
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def huge(suffix: str) -> bytes:
    """Return a small file whose header says 30,000 x 30,000."""
    data = bytearray(encode(RAMP, suffix) if suffix != ".gif" else pil_bytes(rgb_image(), "GIF"))
    side = 30_000
    if suffix == ".png":
        data[16:24] = struct.pack(">II", side, side)
    elif suffix == ".bmp":
        data[18:26] = struct.pack("<ii", side, side)
    elif suffix == ".jpg":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", side, side)
    elif suffix == ".gif":
        data[6:10] = struct.pack("<HH", side, side)
    elif suffix == ".tiff":
        data = bytearray(struct.pack("<2sHIH", b"II", 42, 8, 2))
        data += struct.pack("<HHIIHHII", 256, 4, 1, side, 257, 4, 1, side) + bytes(4)
    elif suffix == ".webp":
        data = bytearray(b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + 2 * (side - 1).to_bytes(3, "little"))
    return bytes(data)


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_formats_from_path_and_bytes(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"image{suffix}"
    path.write_bytes(encode(RAMP, suffix) if suffix != ".webp" else pil_bytes(rgb_image(), "WEBP", lossless=True))
    for source in (path, str(path), path.read_bytes()):
        np.testing.assert_array_equal(load_image(source), RAMP)


def rgb_image() -> Image.Image:
    """Return `RAMP` as a PIL image."""
    return Image.fromarray(np.ascontiguousarray(RAMP[..., ::-1]))


@pytest.mark.parametrize(("suffix", "name"), FORMATS.items())
def test_header_of_each_format(suffix: str, name: str) -> None:
    assert read_header(encode(RAMP, suffix))[:4] == (name, 60, 40, True)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}])
def test_header_of_each_kind_of_webp(options: dict[str, object]) -> None:
    assert read_header(pil_bytes(rgb_image(), "WEBP", **options))[:4] == ("WebP", 60, 40, True)


def test_header_of_a_gif() -> None:
    assert read_header(pil_bytes(rgb_image(), "GIF"))[:4] == ("GIF", 60, 40, True)


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("grey", GREY, np.dstack([GREY] * 3)),
        ("one channel", GREY[..., None], np.dstack([GREY] * 3)),
        ("colour", RAMP, RAMP),
        ("alpha is dropped", np.dstack([RAMP, np.zeros_like(GREY)]), RAMP),
        ("16 bits", DEEP, (DEEP >> 8).astype(np.uint8)),
        ("not contiguous", RAMP[:, ::-1], RAMP[:, ::-1]),
        ("big-endian", DEEP.astype(">u2"), (DEEP >> 8).astype(np.uint8)),
        ("little-endian grey", DEEP[..., 0].astype("<u2"), np.dstack([(DEEP[..., 0] >> 8).astype(np.uint8)] * 3)),
        (
            "16 bits with alpha, strided",
            np.dstack([DEEP, DEEP])[::2, ::-1, :4],
            (DEEP[::2, ::-1] >> 8).astype(np.uint8),
        ),
        ("Fortran order", np.asfortranarray(RAMP), RAMP),
        ("nothing masked", np.ma.masked_array(RAMP, mask=False), RAMP),
        ("matrix", np.asmatrix(GREY), np.dstack([GREY] * 3)),
    ],
)
def test_arrays_and_what_they_become(name: str, array: np.ndarray, expected: np.ndarray) -> None:
    image = load_image(array)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("grey", GREY, np.dstack([GREY] * 3)),
        ("alpha is dropped", np.dstack([RAMP, np.zeros_like(GREY)]), RAMP),
        ("16 bits", DEEP, (DEEP >> 8).astype(np.uint8)),
    ],
)
def test_png_files_become_what_arrays_become(name: str, array: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(load_image(encode(array)), expected)


def test_16_bit_tiff_is_at_most_one_level_apart() -> None:
    difference = load_image(encode(DEEP, ".tiff")).astype(int) - (DEEP >> 8)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("RGB", RAMP),
        ("RGBA", RAMP),
        ("L", np.dstack([cv2.cvtColor(RAMP, cv2.COLOR_BGR2GRAY)] * 3)),
        ("CMYK", RAMP),
    ],
)
def test_pil_images(mode: str, expected: np.ndarray) -> None:
    assert np.abs(load_image(rgb_image().convert(mode)).astype(int) - expected).max() <= 1


def test_16_bit_pil_image_is_not_clipped() -> None:
    image = load_image(Image.fromarray(DEEP[..., 0]))
    np.testing.assert_array_equal(image, np.dstack([(DEEP[..., 0] >> 8).astype(np.uint8)] * 3))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation(kind: str, tmp_path: Path) -> None:
    if kind == "WEBP" and int(cv2.__version__.split(".")[0]) < 5:
        pytest.skip("OpenCV 4 does not read the EXIF data of WebP files")
    exif = Image.Exif()
    exif[0x0112] = 6  # upright after a turn by 90 degrees to the right
    data = pil_bytes(rgb_image(), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    path = tmp_path / "turned"
    path.write_bytes(data)
    upright = np.rot90(RAMP, -1)
    tolerance = 40 if kind == "JPEG" else 0
    for source in (data, path, Image.open(path)):
        image = load_image(source)
        assert image.shape == (60, 40, 3)
        assert np.abs(image.astype(int) - upright).max() <= tolerance


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("empty file", b"", "empty"),
        ("text", b"This is no photo.", "not an image"),
        ("another kind of file", b"%PDF-1.7 and so on", "not an image"),
        ("1 x 1", np.zeros((1, 1, 3), np.uint8), "1 x 1"),
        ("1 x 1 file", encode(np.zeros((1, 1, 3), np.uint8)), "1 x 1"),
        ("no pixels", np.zeros((0, 64, 3), np.uint8), "64 x 0"),
        ("too large an array", np.broadcast_to(np.uint8(0), (30_000, 30_000, 3)), "30000 x 30000"),
        ("float", np.ones((64, 64, 3), np.float32), "float32"),
        ("NaN", np.full((64, 64, 3), np.nan), "NaN"),
        ("int64", np.ones((64, 64, 3), np.int64), "int64"),
        ("bool", np.ones((64, 64), bool), "bool"),
        ("masked", np.ma.masked_equal(RAMP, 7), "masked"),
        ("object", RAMP.astype(object), "object"),
        ("complex", np.ones((64, 64), complex), "complex128"),
        ("uint32", np.ones((64, 64), np.uint32), "uint32"),
        ("number of 0 dimensions", np.array(3), "shape"),
        ("no channel", np.zeros((64, 64, 0), np.uint8), "shape"),
        ("batch", np.zeros((2, 64, 64, 3), np.uint8), "shape"),
        ("two channels", np.zeros((64, 64, 2), np.uint8), "shape"),
        ("PIL float", Image.fromarray(np.ones((64, 64), np.float32)), "float32"),
        ("None", None, "NoneType"),
        ("number", 3, "int"),
        ("PIL too large", Image.new("1", (30_000, 30_000)), "30000 x 30000"),
        ("TIFF float", encode(np.ones((64, 64), np.float32), ".tiff"), "floating-point"),
        (
            "TIFF float in colour",
            encode(np.ones((64, 64, 3), np.float32), ".tiff", (cv2.IMWRITE_TIFF_COMPRESSION, 1)),
            "floating-point",
        ),
        ("header only", encode(RAMP)[:20], "truncated"),
        ("JPEG header only", encode(RAMP, ".jpg")[:30], "truncated"),
    ],
)
def test_refused(name: str, source: object, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_image(source)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("suffix", FORMATS)
def test_truncated(suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    data = encode(noise, suffix)
    with pytest.raises(ImageError, match=r"truncated|damaged|not an image"):
        load_image(data[: int(share * len(data))])


def test_truncated_jpeg_with_a_whole_thumbnail() -> None:
    thumbnail = encode(RAMP, ".jpg")
    exif = b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail
    data = encode(RAMP, ".jpg")
    assert load_image(data[:2] + exif + data[2:]).shape == RAMP.shape
    with pytest.raises(ImageError, match="truncated"):
        load_image(data[:2] + exif + data[2:-2])


def test_truncated_pil_image() -> None:
    data = encode(np.random.default_rng(0).integers(0, 256, (99, 99, 3), dtype=np.uint8), ".jpg")
    with pytest.raises(ImageError, match="truncated"):
        load_image(Image.open(BytesIO(data[: len(data) // 2])))


class Plugin(Image.Image):
    """A PIL plugin whose decoder fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._mode, self._size, self.error = "RGB", (40, 40), error

    def load(self) -> None:
        """Fail."""
        raise self.error


@pytest.mark.parametrize(
    "error", [EOFError("a"), KeyError("b"), ValueError("c"), IndexError("d"), struct.error("e"), MemoryError()]
)
def test_whatever_pil_raises_is_an_image_error(error: Exception) -> None:
    with pytest.raises(ImageError, match=r"PIL image cannot be decoded|memory"):
        load_image(Plugin(error))


def test_closed_pil_image() -> None:
    image = rgb_image()
    image.close()
    with pytest.raises(ImageError, match="PIL image cannot be decoded"):
        load_image(image)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pil_images_are_turned_as_files_are(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = pil_bytes(rgb_image(), "PNG", exif=exif)
    np.testing.assert_array_equal(load_image(Image.open(BytesIO(data))), load_image(data))


def test_damaged_exif_turns_nothing() -> None:
    data = pil_bytes(rgb_image(), "PNG", exif=b"Exif\0\0XX*\0\x08\0\0\0\xff\xff")
    np.testing.assert_array_equal(load_image(Image.open(BytesIO(data))), RAMP)
    np.testing.assert_array_equal(load_image(data), RAMP)


def test_pil_images_are_converted_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.images.pil_images.STRIP", 7 * 60)
    np.testing.assert_array_equal(load_image(rgb_image()), RAMP)
    np.testing.assert_array_equal(load_image(Image.fromarray(DEEP[..., 0]))[..., 1], DEEP[..., 0] >> 8)


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "P", {"transparency": 3}),
        ("PNG", "P", {"transparency": bytes(range(0, 250, 5))}),
        ("PNG", "L", {"transparency": 9}),
        ("PNG", "LA", {}),
        ("PNG", "1", {}),
        ("TIFF", "CMYK", {}),
        ("JPEG", "CMYK", {}),
        ("TIFF", "I;16B", {}),
    ],
)
def test_pil_images_are_what_their_files_are(kind: str, mode: str, options: dict[str, object]) -> None:
    deep = Image.frombytes("I;16B", (60, 40), DEEP[..., 1].astype(">u2").tobytes())
    data = pil_bytes(deep if mode == "I;16B" else rgb_image().convert(mode), kind, **options)
    from_pil = load_image(Image.open(BytesIO(data))).astype(int)
    assert np.abs(from_pil - load_image(data)).max() <= 1


@pytest.mark.parametrize("mode", ["RGBa", "La", "RGBX", "PA", "HSV", "YCbCr"])
def test_rare_pil_modes(mode: str) -> None:
    steps = {"RGBa": ["RGBA", "RGBa"], "La": ["LA", "La"], "PA": ["P", "PA"]}.get(mode, [mode])
    image = rgb_image()
    for step in steps:
        image = image.convert(step)
    expected = np.dstack([cv2.cvtColor(RAMP, cv2.COLOR_BGR2GRAY)] * 3) if mode == "La" else RAMP
    assert np.abs(load_image(image).astype(int) - expected).mean() < (30 if mode == "PA" else 5)


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_heic_and_avif(kind: str) -> None:
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif, which is optional, is not installed")
    heif.register_heif_opener()
    try:
        data = pil_bytes(rgb_image(), kind, quality=100)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {kind}")
    assert np.abs(load_image(data).astype(int) - RAMP).mean() < 12
    with pytest.raises(ImageError, match="60 x 40"):
        load_image(data, max_pixels=2399)
    with pytest.raises(ImageError, match=r"cannot be (opened|decoded)"):
        load_image(data[: len(data) // 2])


def test_limits_are_arguments(tmp_path: Path) -> None:
    data = encode(RAMP)
    (tmp_path / "a.png").write_bytes(data)
    for source in (data, bytearray(data), memoryview(data), tmp_path / "a.png", RAMP, rgb_image()):
        assert load_image(source, max_pixels=3600, max_bytes=len(data)).shape == RAMP.shape
        with pytest.raises(ImageError, match="60 x 40, wanted at most 2,399 pixels"):
            load_image(source, max_pixels=2399)
    for source in (data, memoryview(data), tmp_path / "a.png"):
        with pytest.raises(ImageError, match=f"{len(data):,} bytes, wanted at most {len(data) - 1:,}"):
            load_image(source, max_bytes=len(data) - 1)


def test_memory_that_is_not_there_is_an_image_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        error = cv2.error("Insufficient memory")
        error.code = cv2.Error.StsNoMem
        raise error

    monkeypatch.setattr(cv2, "imdecode", fail)
    with pytest.raises(ImageError, match="not enough memory"):
        load_image(encode(RAMP))


@pytest.mark.parametrize("name", ["a\0b.png", "\udc00\ud800.png", "x" * 300, "", "missing/../x.png"])
def test_names_that_no_file_has(name: str) -> None:
    with pytest.raises(ImageError):
        load_image(name)


@pytest.mark.parametrize("suffix", [*FORMATS, ".gif"])
def test_30000_x_30000_is_refused_before_decoding(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=f"30000 x 30000, wanted at most {MAX_PIXELS:,}"):
        load_image(huge(suffix))


def test_errors_name_the_file(tmp_path: Path) -> None:
    for name, content in (("text.jpg", b"hello"), ("empty.png", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=name):
            load_image(tmp_path / name)
    with pytest.raises(ImageError, match=r"missing\.jpg cannot be read: No such file"):
        load_image(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="directory"):
        load_image(tmp_path)
