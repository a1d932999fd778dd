"""Manifests: folders, CSV, Parquet, landmarks, and what is wrong with them."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from sdk.alignment import align
from sdk.errors import ImageError, InputError
from train.data.manifest import make_manifest, read_manifest, write_table

POINTS = np.array([(80.0, 90.0), (130.0, 92.0), (106.0, 120.0), (86.0, 148.0), (128.0, 149.0)])


def test_folder(crops: Path) -> None:
    manifest = read_manifest(crops)
    assert len(manifest) == 12
    assert manifest.paths[0] == "person0/0.png"
    assert manifest.identities[0] == "person0"
    assert manifest.load_face(0).shape == (112, 112, 3)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("as_text", [True, False])
def test_landmarks_align_on_the_fly(tmp_path: Path, suffix: str, as_text: bool) -> None:
    image = np.random.default_rng(0).integers(0, 256, (240, 220, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    flat = POINTS.ravel().tolist()
    row = {"path": "a.png", "identity": "7", "landmarks": " ".join(map(str, flat)) if as_text else flat}
    write_table(make_manifest([row], tmp_path).table, tmp_path / f"m{suffix}")
    manifest = read_manifest(tmp_path / f"m{suffix}")
    assert manifest.identities == ["7"]
    np.testing.assert_array_equal(manifest.load_face(0), align(image, POINTS))


@pytest.mark.parametrize(("landmarks", "message"), [("1 2 3", "3 numbers, wanted 10"), ("a b", "not numbers")])
def test_bad_landmarks(tmp_path: Path, landmarks: str, message: str) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((112, 112, 3), np.uint8))
    with pytest.raises(ImageError, match=message):
        make_manifest([{"path": "a.png", "landmarks": landmarks}], tmp_path).load_face(0)


def test_an_unaligned_image_without_landmarks(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((200, 150, 3), np.uint8))
    with pytest.raises(ImageError, match="150 x 200 and has no landmarks"):
        read_manifest(tmp_path).load_face(0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.csv", None, "no file at"),
        ("m.json", "{}", "wanted .csv, .parquet or .pkl"),
        ("m.parquet", "text", "cannot be read as parquet"),
        ("m.csv", "file\na.png\n", "no column 'path'"),
        ("m.csv", "path\n", "no rows"),
        ("m.csv", "path\na.png\nb.png\na.png\n", "a.png more than once"),
    ],
)
def test_bad_manifests(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_manifest(tmp_path / name)


def test_empty_folder_and_missing_column(tmp_path: Path, crops: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image"):
        read_manifest(tmp_path / "empty")
    with pytest.raises(InputError, match="no column 'quality', only path, identity"):
        read_manifest(crops).column("quality")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "t.csv"
    write_table(pa.table({"a": [1]}), target)
    before = target.read_bytes()
    with pytest.raises(pa.ArrowInvalid):
        write_table(pa.table({"a": [{"b": 1}]}), target)
    assert target.read_bytes() == before
