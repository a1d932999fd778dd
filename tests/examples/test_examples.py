"""The examples, run as a user runs them."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from sdk.models.catalog import find_entry
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
embedded = find_entry("fiqa-nano").embedded
needs_nano = pytest.mark.skipif(
    not (embedded and embedded.is_file()), reason="fiqa-nano.onnx is not in the package yet"
)


def run(*arguments: object) -> list[str]:
    """Lines that an example prints, without the network."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "FIQA_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
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


@needs_nano
def test_batch_folder(copies: Path) -> None:
    rows = [line.split() for line in run("examples/batch_folder.py", copies)]
    scores = {name.removesuffix(".png"): float(score) for score, name in rows}
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert len(scores) == 1 + 4 * len(KINDS)
    for kind in KINDS:
        assert scores[f"{kind}-100"] < scores["good"], kind


@needs_nano
def test_score_one() -> None:
    (line,) = run("examples/score_one.py", "examples/media/astronaut.jpg")
    assert line.startswith("score 0.")


def test_draw_restored(tmp_path: Path) -> None:
    save_network(Diffusion(8), tmp_path / "diffusion.safetensors")
    run("examples/draw_restored.py", tmp_path / "diffusion.safetensors", tmp_path / "out.png")
    assert cv2.imread(str(tmp_path / "out.png")).shape == (6 * 132, 6 * 136, 3)


EXAMPLES = ("score_one.py", "batch_folder.py", "draw_scores.py", "draw_restored.py", "media/make_bad_copies.py")


@pytest.mark.parametrize("name", EXAMPLES)
def test_usage(name: str) -> None:
    done = subprocess.run([sys.executable, f"examples/{name}"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith("usage: ")
