"""The examples, run as a user runs them."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from sdk import QualityScorer
from train.methods.diffusion import Diffusion
from train.networks import save_network

ROOT = Path(__file__).parents[2]
KINDS = (
    "misalignment",
    "over_exposure",
    "darkness",
    "occlusion",
    "blur",
    "low_resolution",
    "noise",
    "compression",
)


def run(*arguments: object, code: int = 0) -> list[str]:
    """Lines that an example prints, without the network."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "FIQA_OFFLINE": "1"},
    )
    assert done.returncode == code, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that make_bad_copies.py writes."""
    folder = tmp_path_factory.mktemp("copies")
    lines = run("examples/media/make_bad_copies.py", folder)
    assert {Path(line).name for line in lines} == {path.name for path in folder.iterdir()}
    return folder


def test_bad_copies(copies: Path) -> None:
    good = cv2.imread(str(copies / "good.png")).astype(float)
    assert good.shape == (112, 112, 3)
    assert len(list(copies.iterdir())) == 1 + 4 * len(KINDS)
    for kind in KINDS:
        damage = [np.abs(cv2.imread(str(copies / f"{kind}-{grade}.png")) - good).mean() for grade in (25, 50, 75, 100)]
        assert damage[0] > 0.5, kind
        assert damage == sorted(damage), kind


def test_batch_folder(copies: Path) -> None:
    rows = [line.split() for line in run("examples/batch_folder.py", copies)]
    scores = {name.removesuffix(".png"): float(score) for score, name in rows}
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert len(scores) == 1 + 4 * len(KINDS)
    for kind in KINDS:
        assert scores[f"{kind}-100"] < scores["good"], kind


def test_score_one() -> None:
    (line,) = run("examples/score_one.py", "examples/media/astronaut.jpg")
    assert line.startswith("score 0.")


def test_clip(tmp_path: Path) -> None:
    run("examples/media/make_clip.py", tmp_path / "clip.mp4")
    capture = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    frames = [capture.read()[1].astype(int) for _ in range(250)]
    assert frames[0].shape == (360, 640, 3)
    assert not capture.read()[0]
    assert frames[174].mean() < 20 < 100 < frames[100].mean()  # dark
    skin = [((f[..., 2] - f[..., 0] > 60) & (f[..., 2] > 150))[:, 200:440].mean() for f in frames]
    assert skin[10] < 0.01 < skin[30] < skin[50] < skin[74]  # nobody, then nearer
    assert skin[149] < 0.7 * skin[126]  # turned away


def test_video_stream() -> None:
    lines = run("examples/video_stream.py")
    assert any(line.startswith("track 1 can be recognised: 0.") for line in lines)
    assert [line.split(":")[0] for line in lines if "has ended" in line] == [f"track {n} has ended" for n in (1, 2, 3)]
    assert lines[-1].startswith("250 frames, 125 looked at, ")
    assert lines[-1].endswith(" 0 dropped")


def test_best_shot(tmp_path: Path) -> None:
    lines = run("examples/best_shot.py", "examples/media", tmp_path / "shots")  # a folder of one frame
    assert lines[0].startswith("track 1: 1 face, best 0.")
    assert cv2.imread(str(next((tmp_path / "shots").glob("*-best1-crop.png")))).shape == (112, 112, 3)


def test_enrolment_gate(tmp_path: Path) -> None:
    photo = cv2.imread(str(ROOT / "examples/media/astronaut.jpg"))
    assert run("examples/enrolment_gate.py", "examples/media/astronaut.jpg")[0].startswith("accepted: quality ")
    cv2.imwrite(str(tmp_path / "two.png"), np.hstack([photo, photo]))
    assert run("examples/enrolment_gate.py", tmp_path / "two.png", code=3) == [
        "again, please: 2 faces, wanted one; be alone in the picture"
    ]
    cv2.imwrite(str(tmp_path / "small.png"), cv2.resize(photo, (250, 250), interpolation=cv2.INTER_AREA))
    assert run("examples/enrolment_gate.py", tmp_path / "small.png", code=3)[0].startswith(
        "again, please: Come closer (too_small: "
    )


def test_own_model(tmp_path: Path) -> None:
    (line,) = run("examples/own_model.py", tmp_path / "own.onnx")
    assert line.startswith(f"{tmp_path / 'own.onnx'}: own on cpu; good face ")
    with QualityScorer(tmp_path / "own.onnx", "cpu") as scorer:
        assert scorer.card.training_data == "one face, damaged"


def test_demo(tmp_path: Path) -> None:
    lines = run("examples/demo.py", tmp_path)
    assert lines[0].split() == ["score", "after", "damage", "of", "0", "%", "25", "%", "50", "%", "75", "%", "100", "%"]
    assert "every kind of damage lowers the score" in lines
    falls = {line[:22].strip(): [float(score) for score in line[22:].split()] for line in lines[1 : 1 + len(KINDS)]}
    assert set(falls) == {kind.replace("_", " ") for kind in KINDS}
    assert all(scores[-1] < scores[0] for scores in falls.values())
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 2 + 4 * len(KINDS)
    assert "<html" in (tmp_path / "report.html").read_text()


def test_draw_restored(tmp_path: Path) -> None:
    save_network(Diffusion(8), tmp_path / "diffusion.safetensors")
    run("examples/draw_restored.py", tmp_path / "diffusion.safetensors", tmp_path / "out.png")
    assert cv2.imread(str(tmp_path / "out.png")).shape == (6 * 132, 6 * 136, 3)


EXAMPLES = (
    "score_one.py",
    "batch_folder.py",
    "draw_scores.py",
    "draw_restored.py",
    "enrolment_gate.py",
    "media/make_bad_copies.py",
    "media/make_clip.py",
)


@pytest.mark.parametrize("name", EXAMPLES)
def test_usage(name: str) -> None:
    done = subprocess.run([sys.executable, f"examples/{name}"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith("usage: ")
