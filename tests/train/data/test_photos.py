"""Photos without landmarks: detection, what is left out, and how a run goes on."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from sdk import QualityScorer, score_files
from sdk.alignment import align
from sdk.detection.face_detector import FaceDetector
from sdk.errors import InputError
from sdk.results_io.rows import csv_text
from train.data import prepare as module
from train.data.manifest import read_manifest, read_table
from train.data.prepare import PrepareSettings, prepare
from train.data.source_images import source_faces
from train.data.sources.landmarks import with_landmarks
from train.data.sources.photos import PhotoReader
from train.data.sources.source import Source

PHOTO = cv2.imread(str(Path(__file__).parents[3] / "examples/media/astronaut.jpg"))
SETTINGS = PrepareSettings(copies=1, test_copies=1, test=0, validation=0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos of two people, a picture without a face, and a broken one.

    One photo shows a person twice, once smaller at the edge.
    """
    large, small = PHOTO, cv2.resize(PHOTO, None, fx=0.5, fy=0.5)
    both = np.zeros((large.shape[0], large.shape[1] + small.shape[1], 3), np.uint8)
    both[: small.shape[0], : small.shape[1]] = small
    both[:, small.shape[1] :] = large
    for name, image in (("ann/1.png", PHOTO), ("bob/1.png", both), ("bob/2.png", np.zeros((200, 300, 3), np.uint8))):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "photos" / name), image)
    (tmp_path / "photos/bob/3.png").write_bytes(b"broken")
    return tmp_path / "photos"


def test_faces_of_photos_are_detected(photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made = read_manifest(prepare([Source(photos)], tmp_path / "out", SETTINGS))
    assert made.column("source") == ["ann/1.png", "ann/1.png", "bob/1.png", "bob/1.png"]
    face = FaceDetector().detect(PHOTO)[0]
    np.testing.assert_array_equal(made.load_face(0), align(PHOTO, face.landmarks))
    found = read_table(tmp_path / "out/landmarks.csv").to_pylist()
    assert [(row["path"], row["faces"]) for row in found] == [("ann/1.png", 1), ("bob/1.png", 2)]
    points = np.array([row["landmarks"].split() for row in found], float).reshape(2, 5, 2)
    right = PHOTO.shape[1] / 2  # where the larger of the two faces is
    np.testing.assert_allclose(points[1] - [right, 0], points[0], atol=8)
    left = read_table(tmp_path / "out/left-out.csv").to_pylist()
    assert [row["path"] for row in left] == ["bob/2.png", "bob/3.png"]
    assert left[0]["error"].endswith("bob/2.png: no face found")
    assert "2 of 4 images are left out: 1 show no face, 1 cannot be used; first: " in caplog.text
    assert "2 faces were detected; 1 photos show several faces, one near the middle is taken" in caplog.text
    assert not (tmp_path / "out/prepare.journal").exists()


def test_detected_landmarks_cut_the_same_faces_again(photos: Path, tmp_path: Path) -> None:
    made = read_manifest(prepare([Source(photos)], tmp_path / "out", SETTINGS))
    source = Source(photos, tmp_path / "out/landmarks.csv")
    for row, face in source_faces(made, range(len(made)), [source], SETTINGS).items():
        again = face.cut(face.landmarks).astype(float)
        assert np.abs(again - made.load_face(row)).mean() < 1  # landmarks are kept to a hundredth of a pixel


def test_a_stopped_run_goes_on(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_manifest(prepare([Source(photos)], tmp_path / "whole", SETTINGS))
    read, seen = PhotoReader.read, list[int]()

    def stopping(self: PhotoReader, row: int) -> object:
        seen.append(row)
        if row == 2 and len(seen) < 4:
            raise KeyboardInterrupt
        return read(self, row)

    monkeypatch.setattr(PhotoReader, "read", stopping)
    monkeypatch.setattr(module, "ThreadPoolExecutor", lambda: ThreadPoolExecutor(1))
    with pytest.raises(KeyboardInterrupt):
        prepare([Source(photos)], tmp_path / "out", SETTINGS)
    journal = tmp_path / "out/prepare.journal"
    assert len(journal.read_bytes().splitlines()) == 3  # the run, and two images
    with pytest.raises(InputError, match=r"prepare\.journal is of a run with copies=1, this one has copies=2"):
        prepare([Source(photos)], tmp_path / "out", replace(SETTINGS, copies=2))
    made = read_manifest(prepare([Source(photos)], tmp_path / "out", SETTINGS))
    assert seen.count(0) == seen.count(1) == 1
    assert made.table.equals(whole.table)
    for row in range(len(made)):
        np.testing.assert_array_equal(made.load_face(row), whole.load_face(row))


def test_a_folder_without_a_face(tmp_path: Path) -> None:
    (tmp_path / "photos/ann").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "photos/ann/1.png"), np.zeros((200, 300, 3), np.uint8))
    with pytest.raises(InputError, match=r"no image of .*photos can be used; the first one: .*no face found"):
        prepare([Source(tmp_path / "photos")], tmp_path / "out", SETTINGS)


def test_crops_of_any_size(tmp_path: Path) -> None:
    (tmp_path / "crops/ann").mkdir(parents=True)
    for name, shape in (("large", (224, 224, 3)), ("small", (56, 56, 3)), ("wide", (112, 100, 3))):
        cv2.imwrite(str(tmp_path / f"crops/ann/{name}.png"), np.full(shape, 90, np.uint8))
    made = read_manifest(prepare([Source(tmp_path / "crops")], tmp_path / "out", replace(SETTINGS, aligned=True)))
    clean = [row for row, damage in enumerate(made.column("degradation")) if not damage]
    assert [made.column("source")[row] for row in clean] == ["ann/large.png", "ann/small.png"]
    assert all((made.load_face(row) == 90).all() for row in clean)
    assert "is 100 x 112, wanted a square" in read_table(tmp_path / "out/left-out.csv")["error"][0].as_py()


@pytest.mark.parametrize("absolute", [True, False])
def test_landmarks_of_a_table_of_scores(
    photos: Path, tmp_path: Path, absolute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with QualityScorer() as scorer:
        faces = [face for rows in score_files(scorer, [photos if absolute else "photos"]) for face in rows]
    (tmp_path / "scores.csv").write_text(csv_text(faces, header=True), newline="")
    found = with_landmarks(read_manifest(photos), tmp_path / "scores.csv")
    assert found.paths == ["ann/1.png", "bob/1.png"]
    wanted = FaceDetector().detect(PHOTO)[0].landmarks
    np.testing.assert_allclose(found.landmarks(0), wanted, atol=0.01)
