"""AI-KD's two published pickles and a folder of photos: joined by name, and trained on by the command."""

import pickle
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from sdk.alignment import align
from sdk.errors import InputError
from tests.support.weights import tame_network
from train.cli import app
from train.data.labelled import read_labelled
from train.data.sources.source import Source
from train.networks import identify, read_state, save_network

POINTS = np.array([(50.0, 60), (90, 60), (70, 80), (55, 102), (86, 102)])
NAMES = [f"n{index // 3}/{index}.png" for index in range(9)]
LANDMARKS = {name: POINTS + index / 2 for index, name in enumerate(NAMES)}
SCORES = {name: index / 8 for index, name in enumerate(reversed(NAMES))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine photos of three people, and the two pickles, which lie elsewhere."""
    folder = tmp_path_factory.mktemp("published")
    rng = np.random.default_rng(0)
    for name in NAMES:
        path = folder / "vggface2" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.resize(noise, (140, 150), interpolation=cv2.INTER_CUBIC))
    dumped(SCORES, folder / "scores.pkl")
    dumped(boxed(LANDMARKS), folder / "landmarks.pkl")
    return folder


def dumped(content: Any, path: Path) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=4))
    return path


def boxed(landmarks: dict[str, Any]) -> dict[str, Any]:
    return {name: (np.array([0.0, 0, 139, 149]), points) for name, points in landmarks.items()}


def source_of(folder: Path, landmarks: Path | None = None) -> Source:
    return Source(folder / "vggface2", landmarks or folder / "landmarks.pkl")


def without(content: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in names}


@pytest.mark.parametrize("prefix", ["", "vggface2/"])
def test_scores_and_landmarks_are_joined_by_name(prefix: str, folder: Path, tmp_path: Path) -> None:
    scores = dumped({prefix + name: score for name, score in SCORES.items()}, tmp_path / "scores.pkl")
    data = read_labelled(scores, "quality", sources=[source_of(folder)])
    assert data.rows.tolist() == list(range(9))
    assert data.manifest.paths == list(SCORES)
    assert data.labels.tolist() == list(SCORES.values())
    assert [person[-2:] for person in data.identities] == [name[:2] for name in SCORES]
    for row, name in enumerate(data.manifest.paths):
        np.testing.assert_array_equal(data.manifest.landmarks(row), LANDMARKS[name])
    photo = cv2.imread(str(folder / "vggface2" / NAMES[-1]))
    np.testing.assert_array_equal(data.manifest.load_face(0), align(photo, LANDMARKS[NAMES[-1]]))


def test_images_that_one_file_lacks_are_counted(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scores = dumped({**without(SCORES, NAMES[1]), "n7/1.png": 0.5, "n7/2.png": 0.6}, tmp_path / "scores.pkl")
    landmarks = dumped(boxed({**without(LANDMARKS, NAMES[3]), "n7/1.png": POINTS}), tmp_path / "landmarks.pkl")
    data = read_labelled(scores, "quality", sources=[source_of(folder, landmarks)])
    kept = [name for name in SCORES if name not in (NAMES[1], NAMES[3])]
    assert [data.manifest.paths[row] for row in data.rows] == kept
    assert data.labels.tolist() == [SCORES[name] for name in kept]
    assert "3 of 10 labelled images are left out: 2 not in" in caplog.text
    assert "first 'n7/1.png'; 1 without landmarks in" in caplog.text
    assert f"first {NAMES[3]!r}" in caplog.text
    assert f"1 images have no label in {scores} and are left out, first {NAMES[1]!r}" in caplog.text


def test_files_that_do_not_belong_together(folder: Path, tmp_path: Path) -> None:
    foreign = dumped({"a/1.png": 0.5, "b/1.png": 0.7}, tmp_path / "foreign.pkl")
    message = rf"no image of .*foreign.pkl can be trained on: 2 not in .*, first 'a/1.png'; .* is {NAMES[0]!r}; wanted"
    with pytest.raises(InputError, match=message):
        read_labelled(foreign, "quality", sources=[source_of(folder)])
    marks = dumped({"a/1.png": POINTS}, tmp_path / "marks.pkl")
    with pytest.raises(InputError, match=r"marks.pkl has landmarks of none of the images, .* name is 'a/1.png'"):
        read_labelled(folder / "scores.pkl", "quality", sources=[source_of(folder, marks)])
    with pytest.raises(InputError, match=r"nothing says where the faces in .*vggface2 are; give --landmarks"):
        read_labelled(folder / "scores.pkl", "quality", sources=[Source(folder / "vggface2")])
    with pytest.raises(InputError, match=r"scores.pkl has no column 'source', .* which of 2 folders"):
        read_labelled(folder / "scores.pkl", "quality", sources=[source_of(folder)] * 2)


def test_ai_kd_trains_on_two_pickles_and_photos(folder: Path, tmp_path: Path) -> None:
    """The command of docs/methods/ai-kd.md, on a small network."""
    save_network(tame_network("mobilefacenet128"), tmp_path / "teacher.safetensors")
    (tmp_path / "r.yaml").write_text(
        "network: fiqa-nano\naikd: {validation: 0.2}\ntraining: {epochs: 1, batch_size: 4, frozen_norm: true}\n"
    )
    command = ["fit", "aikd", tmp_path / "r.yaml", "--labels", folder / "scores.pkl", "--label", "quality"]
    command += ["--images", folder / "vggface2", "--landmarks", folder / "landmarks.pkl"]
    command += ["--backbone", tmp_path / "teacher.safetensors", "--out", tmp_path / "out"]
    result = CliRunner().invoke(app, [str(argument) for argument in command])
    assert result.exit_code == 0, result.output
    assert identify(read_state(tmp_path / "out/best.safetensors")) == "fiqa-nano"
    lacking = [str(argument) for argument in command if argument not in ("--landmarks", folder / "landmarks.pkl")]
    result = CliRunner().invoke(app, lacking)
    assert result.exit_code == 2
    assert "give --landmarks" in re.sub(r"\s+", " ", result.output)
