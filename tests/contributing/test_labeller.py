"""The example of CONTRIBUTING.md, Add a labelling method: it runs as shown, and as an entry of the table."""

import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.contributing import write_example
from train.cli import app
from train.data.manifest import read_table
from train.methods import LABELLERS
from train.references import resolve

LEVELS = (51, 102, 204)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the example and three grey crops."""
    write_example("Add a labelling method", tmp_path)
    (tmp_path / "crops").mkdir()
    for level in LEVELS:
        cv2.imwrite(str(tmp_path / "crops" / f"{level:03d}.png"), np.full((112, 112, 3), level, np.uint8))
    return tmp_path


@pytest.mark.parametrize("settings", [["--set", "gamma=2"], ["--set=gamma=2"], ["--gamma", "2"]])
def test_command_of_the_page(folder: Path, settings: list[str]) -> None:
    words = ["label", "--method", "brightness:Brightness", "crops", "--out", "labels.csv", *settings]
    command = [str(Path(sys.executable).with_name("fiqa-train")), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "labels.csv: 3 labelled, 0 failed" in done.stdout
    labels = read_table(folder / "labels.csv")["brightness"].to_pylist()
    assert labels == pytest.approx([0.04, 0.16, 0.64])


def test_entry_of_the_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any command of the table can carry the example, for a command reads the table when it is called."""
    monkeypatch.chdir(folder)
    monkeypatch.setitem(LABELLERS, "sharpness", ("brightness:Brightness", "Mean grey level."))
    result = CliRunner().invoke(app, ["label", "sharpness", "crops", "--out", "labels.csv", "--gamma", "2"])
    assert result.exit_code == 0, result.output
    assert read_table(folder / "labels.csv")["brightness"].to_pylist() == pytest.approx([0.04, 0.16, 0.64])
    help_text = CliRunner().invoke(app, ["label", "sharpness", "--help"]).output
    assert "Exponent of the label." in help_text


def test_it_is_picklable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    labeller = resolve("brightness:Brightness")(gamma=2.0)
    copy = pickle.loads(pickle.dumps(labeller))
    faces = np.full((1, 112, 112, 3), 51, np.uint8)
    assert copy(faces, ["a"])["brightness"] == pytest.approx([0.04])
