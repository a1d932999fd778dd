"""Best-frame selection: an example computed by hand, references and tracks, and the command."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from sdk.errors import InputError
from train.cli import app
from train.data.manifest import read_table, write_table
from train.evaluation.curves import EvaluationSettings
from train.evaluation.tracks import evaluate_tracks

# Unit vectors in the plane, by their angle in degrees: A's track of three frames, B's of two, and a single image, a
# reference, of each of A, B and C.
TRACKS = ["a", "a", "a", "b", "b", "", "", ""]
PEOPLE = ["A", "A", "A", "B", "B", "A", "B", "C"]
ANGLES = [0, 10, 60, 180, 200, 5, 215, 95]
# There are 4 x 3 (A and B) + 4 (A and C) + 3 (B and C) = 19 non-mated comparisons, the closest 60-95 (35 degrees), then
# 10-95, 180-95 (85). At FMR 1 / 19 one of them may match, so the threshold is cos 85.
LOOSE = 1.001 / 19


def evaluated(scores: dict[str, Any], angles: list[int] = ANGLES, fmr: float = LOOSE, **settings: Any) -> Any:
    radians = np.radians(angles)
    embeddings = np.stack([np.cos(radians), np.sin(radians)], axis=1)
    arrays = {name: np.array(values, float) for name, values in scores.items()}
    return evaluate_tracks(TRACKS, PEOPLE, embeddings, arrays, EvaluationSettings((fmr,), **settings))[0]


def test_by_hand() -> None:
    # A's frames are 5, 5 and 95 degrees from A's reference (5), B's are 90 and 5 from B's (270); C is at 90.
    angles = [0, 10, 100, 180, 265, 5, 270, 90]
    # The closest non-mated ones: 100-90 (10 degrees), which may match; then 10-90 and 100-180 (80). The threshold is
    # cos 80: A's third frame and B's first fail.
    scores = {
        "good": [2, 3, 1, 1, 2, 0, 0, 0],  # chooses 10 (5 degrees away) and 265 (5): nothing fails
        "bad": [1, 1, 2, 2, 1, 0, 0, 0],  # chooses 100 (95) and 180 (90): both fail
        "tied": [2, 1, 2, 1, 1, 0, 0, 0],  # chooses 0 or 100 (one of two fails), 180 or 265 (one of two fails)
    }
    result = evaluated(scores, angles)
    assert result.threshold == pytest.approx(math.cos(math.radians(80)))
    assert (result.tracks, result.mated) == (2, 2)  # each track with its person's reference
    fnmr = {name: interval.value for name, interval in result.fnmr.items()}
    # A random frame: one of A's three fails, one of B's two: (1/3 + 1/2) / 2 = 5/12. The oracle finds one that matches.
    assert fnmr == pytest.approx({"good": 0, "bad": 1, "tied": 0.5, "random frame": 5 / 12, "oracle": 0})
    assert result.closed("good") == 1
    assert result.closed("bad") == pytest.approx((5 / 12 - 1) / (5 / 12))
    assert (result.fnmr["random frame"].low, result.fnmr["random frame"].high) == pytest.approx((1 / 3, 1 / 2))


def test_the_threshold_is_that_of_all_frames() -> None:
    assert evaluated({"q": range(8)}).threshold == pytest.approx(math.cos(math.radians(85)))


def test_tracks_are_compared_with_each_other() -> None:
    angles = np.radians([0, 90, 0, 90, 180, 180])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    tracks, people = ["1", "1", "2", "2", "3", "3"], ["A"] * 4 + ["B"] * 2
    scores = {"agrees": np.array([2, 1, 2, 1, 0, 0.0]), "differs": np.array([2, 1, 1, 2, 0, 0.0])}
    # Non-mated: 0-180 four times (cosine -1) and 90-180 four times (0). At FMR 0.1 none of eight may match, so one of
    # eight is allowed at 0.125: the threshold is the second highest, 0, and 0-0 and 90-90 match, 0-90 does not.
    result = evaluate_tracks(tracks, people, embeddings, scores, EvaluationSettings((0.125,)))[0]
    fnmr = {name: interval.value for name, interval in result.fnmr.items()}
    assert fnmr == {"agrees": 0, "differs": 1, "random frame": 0.5, "oracle": 0}
    assert (result.tracks, result.mated) == (3, 1)


@pytest.mark.parametrize(
    ("tracks", "people", "message"),
    [
        (["a", "a", ""], ["A", "B", "A"], "the track 'a' is of 'A' and of 'B'"),
        (["", "", ""], ["A", "A", "B"], "no row has a track"),
        (["a", "a", ""], ["A", "A", "B"], "nobody has two images"),
    ],
)
def test_wrong_tracks(tracks: list[str], people: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_tracks(tracks, people, np.eye(3), {"q": np.ones(3)}, EvaluationSettings((0.5,)))


def test_command(tmp_path: Path) -> None:
    radians = np.radians(ANGLES)
    np.save(tmp_path / "e.npy", np.stack([np.cos(radians), np.sin(radians)], axis=1))
    rows = {"path": [f"{row}.png" for row in range(8)], "identity": PEOPLE, "track": TRACKS, "q": np.arange(8.0)}
    write_table(pa.table(rows), tmp_path / "frames.csv")
    options = ["--embeddings", str(tmp_path / "e.npy"), "--methods", "q", "--fmr", "0.06", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, ["evaluate-video", str(tmp_path / "frames.csv"), *options])
    assert result.exit_code == 0, result.output
    table = read_table(tmp_path / "video.csv").to_pylist()
    assert [row["frame"] for row in table] == ["q", "random frame", "oracle"]
    assert "| 0.06 | oracle | 0.000" in (tmp_path / "video.md").read_text()
    write_table(pa.table({"path": ["a.png"]}), tmp_path / "none.csv")
    result = CliRunner().invoke(app, ["evaluate-video", str(tmp_path / "none.csv"), *options])
    assert result.exit_code == 2
    assert "no column 'track'" in " ".join(result.output.split())
