"""fiqa score --reasons: columns, going on with a table, and rows for people."""

import csv
import io
import json
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from sdk.commands.app import app
from sdk.commands.score_output import rows_printer
from sdk.decision.measures import make_measure
from sdk.decision.reasons import find_reasons
from sdk.decision.texts import default_texts
from sdk.results_io.scored_face import ScoredFace
from sdk.results_io.table import Table

PHOTO = Path(__file__).parents[3] / "examples/media/astronaut.jpg"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    photo = cv2.imread(str(PHOTO))
    cv2.imwrite(str(folder / "good.png"), photo)
    cv2.imwrite(str(folder / "soft.png"), cv2.GaussianBlur(photo, (0, 0), 5))
    return folder


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["score", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_csv_on_stdout(photos: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run(photos, "--device", "cpu", "--reasons"))))
    assert rows[0]["reasons"] == "none"
    assert rows[1]["reasons"].split()[0] == "blurred"
    assert "eye_distance=" in rows[0]["measures"]
    plain = list(csv.DictReader(io.StringIO(run(photos, "--device", "cpu"))))
    assert [row["reasons"] + row["measures"] for row in plain] == ["", ""]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_tables_keep_reasons(tmp_path: Path, suffix: str) -> None:
    measures = {name: make_measure(name, value) for name, value in {"darkness": 3.25, "yaw": 50.0}.items()}
    faces = [
        ScoredFace(Path("a.jpg"), 0, 0.5, measures=measures, reasons=find_reasons(measures)),
        ScoredFace(Path("a.jpg"), 1, 0.6, measures={}, reasons=()),
        ScoredFace(Path("a.jpg"), 2, 0.7),
    ]
    path = tmp_path / f"scores{suffix}"
    with Table(path) as table:
        table.add(faces)
        table.finish()
    with Table(path, resume=True) as table:
        (again,) = table.earlier()
    assert [face.reasons for face in again] == [face.reasons for face in faces]
    assert again[0].measures == measures
    assert again[2].measures is None


def test_json_lines_have_objects(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.jsonl"
    run(photos / "soft.png", "--device", "cpu", "--reasons", "--out", out)
    row = json.loads(out.read_text("utf-8"))
    assert row["reasons"][0].keys() == {"code", "text", "measure", "value", "limit"}
    assert row["reasons"][0]["text"] == "Hold still, and clean the lens"
    assert row["measures"]["blur"] > row["reasons"][0]["limit"] == 2.4


def test_a_terminal_shows_the_main_reason() -> None:
    measures = {name: make_measure(name, value) for name, value in {"darkness": 5.0, "yaw": 40.0}.items()}
    stream = io.StringIO()
    show = rows_printer(stream, (0, 1), explains=True)
    show([ScoredFace(Path("a.jpg"), 0, 0.5, measures=measures, reasons=find_reasons(measures))])
    head, row = stream.getvalue().splitlines()
    assert head.split() == ["score", "face", "reason", "file"]
    assert row.split()[-2:] == ["too_dark", "a.jpg"]


def test_a_report_speaks_one_language_also_of_an_earlier_run(photos: Path, tmp_path: Path) -> None:
    """A CSV table keeps codes, and the report has the texts of this run."""
    out, page, english = tmp_path / "scores.csv", tmp_path / "report.html", default_texts()["blurred"]
    texts = {**default_texts(), "blurred": "Stillhalten"}
    (tmp_path / "de.toml").write_text("".join(f'{code} = "{text}"\n' for code, text in texts.items()), "utf-8")
    run(photos / "soft.png", "--device", "cpu", "--reasons", "--out", out)
    run(photos, "--device", "cpu", "--reasons-file", tmp_path / "de.toml", "--out", out, "--resume", "--report", page)
    assert "Stillhalten" in page.read_text("utf-8")
    assert english not in page.read_text("utf-8")


def test_a_wrong_file_of_texts(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "de.toml"
    path.write_text('too_dark = "Licht an"\n', "utf-8")
    result = CliRunner().invoke(app, ["score", str(photos), "--device", "cpu", "--reasons-file", str(path)])
    assert result.exit_code == 2
    assert "has no text for misplaced" in " ".join(result.stderr.split())
