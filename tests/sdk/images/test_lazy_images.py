"""PIL images that are open and not decoded yet: they are read as their files are."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from sdk import ImageError
from sdk.images.decoding import load_image

NOISE = np.random.default_rng(8).integers(0, 256, (36, 52, 3), np.uint8)
KINDS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF", pytest.param("GIF", marks=pytest.mark.skipif(
    not cv2.haveImageWriter(".gif"), reason="this OpenCV reads no GIF"
))]  # fmt: skip
FILMS = pytest.mark.skipif(not hasattr(cv2, "imreadanimation"), reason="this OpenCV reads no animated WebP")


def encoded(kind: str, pixels: np.ndarray = NOISE, **options: object) -> bytes:
    """Return an image, encoded by PIL."""
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def film(kind: str) -> bytes:
    """Return two frames or pages: `NOISE`, and the same darker."""
    return encoded(kind, save_all=True, append_images=[Image.fromarray(NOISE // 2)])


@pytest.fixture(scope="module")
def many_scans() -> bytes:
    """Return a small JPEG file that takes long to decode."""
    progressive = encoded("JPEG", progressive=True)
    start = progressive.find(b"\xff\xda")
    scan = progressive[start : progressive.find(b"\xff\xc4", start)]
    frame = progressive.find(b"\xff\xc2") + 5
    large = progressive[:frame] + (5000).to_bytes(2, "big") * 2 + progressive[frame + 4 :]
    return large[:-2] + 3000 * scan + b"\xff\xd9"


@pytest.fixture
def no_pil_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if PIL decodes one of these formats."""
    for kind in (ImageFile.ImageFile, *(type(Image.open(BytesIO(encoded(k)))) for k in ("WEBP", "TIFF"))):
        monkeypatch.setattr(kind, "load", lambda *_: pytest.fail("decoded by PIL"))


@pytest.mark.usefixtures("no_pil_decoder")
@pytest.mark.parametrize("kind", KINDS)
def test_the_files_pixels_without_pils_decoder(kind: str, tmp_path: Path) -> None:
    data = encoded(kind)
    path = tmp_path / "a"
    path.write_bytes(data)
    for image in (Image.open(BytesIO(data)), Image.open(path)):
        position = image.fp.tell()
        np.testing.assert_array_equal(load_image(image), load_image(data))
        assert image.fp.tell() == position
        image.close()


@pytest.mark.parametrize("kind", KINDS)
def test_pil_decodes_what_was_read_before(kind: str) -> None:
    image = Image.open(BytesIO(encoded(kind)))
    first = load_image(image)
    image.load()
    assert np.abs(load_image(image).astype(int) - first).max() <= 1


@pytest.mark.usefixtures("no_pil_decoder")
def test_limits_of_files(many_scans: bytes) -> None:
    lossless = bytearray(encoded("WEBP", np.resize(NOISE, (36, 500, 3)) + NOISE[:, :1], lossless=True))
    lossless[21:25] = (7999 | 7900 << 14).to_bytes(4, "little")
    for data, message in (
        (many_scans, "scans"),
        (bytes(lossless), "8000 x 7901 takes [0-9]+ MB to decode"),
        (encoded("PNG")[:-12], "truncated"),
        (encoded("BMP") + bytes(64 << 20), "file has more than 67,108,864 bytes"),
    ):
        with pytest.raises(ImageError, match=message):
            load_image(Image.open(BytesIO(data)))


def test_limits_are_arguments() -> None:
    data = encoded("TIFF")
    assert load_image(Image.open(BytesIO(data)), max_pixels=4000, max_bytes=len(data)).shape == NOISE.shape
    with pytest.raises(ImageError, match=f"more than {len(data) - 1:,} bytes"):
        load_image(Image.open(BytesIO(data)), max_bytes=len(data) - 1)
    with pytest.raises(ImageError, match="52 x 36, wanted at most 1,000 pixels"):
        load_image(Image.open(BytesIO(data)), max_pixels=1000)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF"])
def test_later_frames_are_decoded_by_pil_within_the_memory(kind: str) -> None:
    image = Image.open(BytesIO(film(kind)))
    image.seek(1)
    with pytest.raises(ImageError, match=f"this PIL {kind} image of 52 x 36 takes"):
        load_image(image, max_pixels=2 * 52 * 36)
    assert np.abs(load_image(image).mean() - NOISE.mean() / 2) < 4


@pytest.mark.usefixtures("no_pil_decoder")
def test_every_picture_of_an_mpo_is_read_as_a_jpeg(many_scans: bytes) -> None:
    image = Image.open(BytesIO(film("MPO")))
    assert image.format == "MPO"
    for frame, pixels in ((1, NOISE // 2), (0, NOISE)):
        image.seek(frame)
        assert abs(load_image(image).mean() - pixels.mean()) < 4
    hostile = bytearray(film("MPO"))
    image.seek(1)
    hostile[image.offset :] = many_scans
    image = Image.open(BytesIO(bytes(hostile)))
    image.seek(1)
    with pytest.raises(ImageError, match="scans"):
        load_image(image)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", pytest.param("WEBP", marks=FILMS), *KINDS[5:]])
def test_back_at_the_first_frame(kind: str) -> None:
    image = Image.open(BytesIO(film(kind)))
    image.seek(1)
    image.seek(0)
    np.testing.assert_array_equal(load_image(image), load_image(film(kind)))


@pytest.mark.parametrize(("kind", "missing"), [("GIF", "GIF"), ("WEBP", "animated WebP")])
def test_what_an_old_opencv_does_not_read(kind: str, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "haveImageWriter", lambda _: False)
    monkeypatch.delattr(cv2, "imreadanimation", raising=False)
    with pytest.raises(ImageError, match=f"reads no {missing} images; `pip install -U opencv"):
        load_image(film(kind))


def test_drafts_stay_drafts() -> None:
    data = encoded("JPEG", np.kron(NOISE, np.ones((8, 8, 1), np.uint8)))
    small, grey = (Image.open(BytesIO(data)) for _ in range(2))
    small.draft("RGB", (104, 72))
    assert load_image(small).shape == (72, 104, 3)
    grey.draft("L", grey.size)
    assert np.ptp(load_image(grey).astype(int), axis=2).max() == 0


def test_other_formats_are_decoded_by_pil_within_the_memory() -> None:
    data = encoded("PPM")
    np.testing.assert_array_equal(load_image(Image.open(BytesIO(data)))[..., ::-1], NOISE)
    with pytest.raises(ImageError, match="this PIL PPM image of 52 x 36 takes"):
        load_image(Image.open(BytesIO(data)), max_pixels=52 * 36)
    loaded = Image.open(BytesIO(data))
    loaded.load()
    assert load_image(loaded, max_pixels=52 * 36).shape == NOISE.shape


def test_a_file_that_is_closed() -> None:
    image = Image.open(BytesIO(encoded("PNG")))
    image.fp.close()
    with pytest.raises(ImageError, match="PIL image cannot be decoded"):
        load_image(image)
