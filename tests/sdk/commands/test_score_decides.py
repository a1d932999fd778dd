"""fiqa score with a threshold or a calibration: columns, rows, and the exit code."""

import io
import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sdk import Calibration, QualityScorer, score_files
from sdk.commands.app import app
from sdk.commands.score_output import rows_printer
from sdk.decision.calibration import Threshold
from sdk.results_io.scored_face import ScoredFace
from tests.support.tiny_models import write_faces

COUNT = 6


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    return write_faces(tmp_path / "crops", COUNT)


@pytest.fixture
def scores(crops: Path, tiny_path: Path) -> list[float]:
    with QualityScorer(tiny_path) as scorer:
        return [float(rows[0].score or 0) for rows in score_files(scorer, [crops], aligned=True)]


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["score", "--aligned", *map(str, arguments)])
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_threshold_fills_a_column_and_ends_with_4(
    crops: Path, scores: list[float], tiny_path: Path, tmp_path: Path, suffix: str
) -> None:
    threshold, out = float(np.median(scores)), tmp_path / f"scores{suffix}"
    code, _, said = run(crops, "--model", tiny_path, "--threshold", threshold, "--out", out)
    assert code == 4
    assert f"{COUNT // 2} of {COUNT} faces rejected" in said
    if suffix == ".parquet":
        import pyarrow.parquet

        found = pyarrow.parquet.read_table(out)["accepted"].to_pylist()
    elif suffix == ".jsonl":
        found = [json.loads(line)["accepted"] for line in out.read_text().splitlines()]
    else:
        found = [{"true": True, "false": False}[line.split(",")[4]] for line in out.read_text().splitlines()[1:]]
    assert found == [score >= threshold for score in scores]
    # A table that is gone on with keeps what it holds.
    code, _, said = run(crops, "--model", tiny_path, "--threshold", threshold, "--out", out, "--resume")
    assert code == 4
    assert f"{COUNT} files were in the table already" in said
    assert run(crops, "--model", tiny_path, "--threshold", min(scores))[0] == 0


def test_going_on_with_other_decisions_is_refused(
    crops: Path, scores: list[float], tiny_path: Path, tmp_path: Path
) -> None:
    """The rows of before would stay as they are, and the exit code, the counts and the report would be wrong."""
    out, digest = tmp_path / "scores.csv", sha256(tiny_path.read_bytes()).hexdigest()
    for name, rates in (("a", (0.1, 0.9)), ("b", (0.3, 0.4))):
        made = Calibration("tiny", digest, "judge", scores=(min(scores), max(scores)), rates=rates)
        made.write(tmp_path / f"{name}.json")
    first = next(crops.iterdir())
    middle = float(np.median(scores))
    begun: list[tuple[object, ...]] = [(), ("--threshold", middle), ("--calibration", tmp_path / "a.json")]
    others: list[list[tuple[object, ...]]] = [
        [("--threshold", min(scores)), ("--threshold", 2), ("--calibration", tmp_path / "a.json")],
        [(), ("--threshold", -9 if min(scores) < middle else 9)],
        [(), ("--calibration", tmp_path / "b.json")],
    ]
    for options, wrong in zip(begun, others, strict=True):
        out.unlink(missing_ok=True)
        run(crops, "--model", tiny_path, *options, "--out", out)
        held = out.read_bytes()
        for other in wrong:
            code, _, said = run(crops, first, "--model", tiny_path, *other, "--out", out, "--resume")
            assert code == 2
            assert "go on with the same --threshold, --accept and --calibration" in said
            assert out.read_bytes() == held
        assert run(crops, "--model", tiny_path, *options, "--out", out, "--resume")[0] in (0, 4)


def test_a_calibration_gives_quality_and_operating_points(
    crops: Path, scores: list[float], tiny_path: Path, tmp_path: Path
) -> None:
    point = Threshold("identify", "fnmr", 0.05, sorted(scores)[1], -9, 9, 0.1)
    digest = sha256(tiny_path.read_bytes()).hexdigest()
    curve = (min(scores) - 1e-6, max(scores) + 1e-6)
    made = Calibration("tiny", digest, "judge", scores=curve, rates=(0.1, 0.9), thresholds=(point,))
    made.write(tmp_path / "c.json")
    code, text, _ = run(crops, "--model", tiny_path, "--calibration", tmp_path / "c.json", "--accept", "identify")
    assert code == 4
    rows = [line.split(",") for line in text.splitlines()]
    assert rows[0][:5] == ["path", "face", "score", "quality", "accepted"]
    assert [int(row[3]) for row in rows[1:]] == [made.quality(score) for score in scores]
    assert [row[4] for row in rows[1:]].count("false") == 1
    code, _, said = run(crops, "--model", tiny_path, "--calibration", tmp_path / "c.json", "--accept", "enrol")
    assert code == 2
    assert "has no point 'enrol', it has: identify" in said


def test_without_a_threshold_nothing_is_decided(crops: Path, tiny_path: Path) -> None:
    code, text, said = run(crops, "--model", tiny_path)
    assert code == 0
    assert "rejected" not in said
    assert {tuple(line.split(",")[3:5]) for line in text.splitlines()[1:]} == {("", "")}
    code, _, said = run(crops, "--model", tiny_path, "--threshold", 0.5, "--accept", "enrol")
    assert code == 2
    assert "give one of them" in said
    code, _, said = run(crops, "--model", tiny_path, "--accept", "enrol")
    assert code == 2
    assert "there is no calibration" in said


def test_rows_for_people_show_the_verdict() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    show = rows_printer(stream, (0.0, 1.0), decides=True)
    show([ScoredFace(Path("a.jpg"), 0, 0.5, quality=93, accepted=True)])
    show([ScoredFace(Path("b.jpg"), 0, 0.1, quality=4, accepted=False)])
    show([ScoredFace(Path("c.jpg"), 0, 0.1)])
    stream.seek(0)
    lines = stream.read().splitlines()
    assert lines[0].split() == ["score", "quality", "face", "file"]
    assert lines[1].split() == ["0.5000", "93", "accepted", "#####", "0", "a.jpg"]
    assert lines[2].split() == ["0.1000", "4", "rejected", "#", "0", "b.jpg"]
    assert lines[3].split() == ["0.1000", "#", "0", "c.jpg"]
    assert len({line.index("jpg") for line in lines[1:]}) == 1
