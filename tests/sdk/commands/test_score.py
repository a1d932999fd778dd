"""fiqa score at scale: tables that grow, are stopped, killed and gone on with."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

from sdk import FaceQuality, QualityScorer
from sdk.commands.app import app
from sdk.errors import ScoreError
from sdk.files import LineFile
from sdk.images.folders import Found, LeftOut
from sdk.results_io.rows import COLUMNS
from sdk.results_io.scoring import NO_NUMBER, cut_picture, score_files
from tests.support.tiny_models import faces, tiny_card, tiny_model, write_faces

ROOT = Path(__file__).parents[3]
COUNT = 12
SUFFIXES = (".csv", ".jsonl", ".parquet")
posix = pytest.mark.skipif(os.name == "nt", reason="signals and names of POSIX")

# A run that gives itself a signal after so many files, while a thread is at work that takes longer than anybody waits.
STOPPED = """
import os, signal, sys, threading, time
import sdk.commands.score
import sdk.results_io.run
from sdk.results_io.scoring import map_files
from sdk.commands.app import app
real, after, name = sdk.results_io.run.score_files, int(sys.argv.pop(1)), sys.argv.pop(1)
def stopped(*arguments, **options):
    for number, found in enumerate(real(*arguments, **options)):
        if number == after:
            threading.Thread(target=time.sleep, args=(300,), name="fiqa-files_x").start()
            os.kill(os.getpid(), getattr(signal, name))
            time.sleep(60)
        yield found
sdk.results_io.run.score_files = stopped
app()
"""


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """A folder of aligned crops."""
    return write_faces(tmp_path / "crops", COUNT)


def run(*arguments: object, code: int = 0) -> tuple[str, str]:
    """Run `fiqa score`; returns what went to stdout and to stderr."""
    result = CliRunner().invoke(app, ["score", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def stopped(after: int, name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `fiqa score --aligned`, which gets a signal after so many files."""
    program = [sys.executable, "-c", STOPPED, str(after), name, "score", "--aligned", *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, cwd=ROOT, timeout=50)


def read(table: Path) -> list[dict[str, Any]]:
    """The rows of a table, numbers as text."""
    if table.suffix == ".csv":
        with table.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    if table.suffix == ".parquet":
        rows = pytest.importorskip("pyarrow.parquet").read_table(table).to_pylist()
    else:
        rows = [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()]
    return [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]


@posix
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"])
def test_a_stopped_run_keeps_its_rows_and_goes_on(
    suffix: str, name: str, crops: Path, tiny_path: Path, tmp_path: Path
) -> None:
    (crops / "03.png").write_bytes(b"no image")
    table, whole = tmp_path / f"t{suffix}", tmp_path / f"whole{suffix}"
    arguments = (crops, "--model", tiny_path, "--out", table)
    done = stopped(5, name, *arguments)
    killed = name == "SIGKILL"
    assert done.returncode == (-signal.SIGKILL if killed else 130), done.stderr
    assert ("stopped; the same command with --resume goes on" in done.stderr) != killed
    grown = tmp_path / "t.parquet.part" if suffix == ".parquet" and killed else table
    assert sorted(path.name for path in tmp_path.glob("t.*")) == [grown.name]
    rows = [json.loads(line) for line in grown.read_text().splitlines()] if grown != table else read(table)
    assert [Path(row["path"]).name for row in rows] == [f"{index:02}.png" for index in range(5)]

    _, err = run("--aligned", *arguments, "--resume", code=3)
    assert "5 files were in the table already" in err
    assert f"{COUNT - 1} faces in {COUNT - 1} of {COUNT} files; 1 without a score" in err
    assert sorted(path.name for path in tmp_path.glob("t.*")) == [table.name]
    run("--aligned", crops, "--model", tiny_path, "--out", whole, code=3)
    assert read(table) == read(whole)

    before = table.read_bytes()
    _, err = run("--aligned", *arguments, "--resume", code=3)
    assert "nothing was left to do" in err
    assert "wrote" not in err
    assert table.read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob("t.*")) == [table.name]


@posix
def test_rows_of_parquet_that_was_not_finished_are_not_lost(crops: Path, tiny_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    arguments = (crops, "--model", tiny_path, "--out", tmp_path / "t.parquet")
    stopped(2, "SIGKILL", *arguments)
    part = tmp_path / "t.parquet.part"
    before = part.read_bytes()
    _, err = run("--aligned", *arguments, code=2)
    assert "t.parquet.part holds the rows of a run that did not end; go on with it by --resume, or delete it" in err
    assert part.read_bytes() == before
    part.unlink()
    run("--aligned", *arguments)
    assert len(read(tmp_path / "t.parquet")) == COUNT


@posix
def test_another_signal_ends_it_at_once(crops: Path, tiny_path: Path, tmp_path: Path) -> None:
    slow = "sdk.commands.score.summarise = lambda *_: (os.kill(os.getpid(), signal.SIGINT), time.sleep(60))"
    program = STOPPED.replace("\napp()\n", f"\n{slow}\napp()\n")
    arguments = ["4", "SIGINT", "score", "--aligned", str(crops), "--model", str(tiny_path), "--out", "t.csv"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path, capture_output=True, timeout=50,
    )  # fmt: skip
    assert done.returncode == 130
    assert len(read(tmp_path / "t.csv")) == 4


@posix
def test_a_signal_that_is_ignored_stays_ignored(crops: Path, tiny_path: Path, tmp_path: Path) -> None:
    program = STOPPED.replace("time.sleep(60)", "time.sleep(0)").replace("args=(300,)", "args=(0,)")
    code = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{program}"
    arguments = [
        "4",
        "SIGHUP",
        "score",
        "--aligned",
        str(crops),
        "--model",
        str(tiny_path),
        "--out",
        str(tmp_path / "t.csv"),
    ]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, timeout=50)
    assert done.returncode == 0, done.stderr
    assert len(read(tmp_path / "t.csv")) == COUNT


@pytest.mark.parametrize(
    ("suffix", "torn", "kept"),
    [
        (".csv", 20, 4),
        (".csv", 1, 4),
        (".jsonl", 7, 4),
        (".jsonl", 1, 4),
    ],
)
def test_a_torn_last_row_is_cut(
    suffix: str, torn: int, kept: int, crops: Path, tiny_path: Path, tmp_path: Path
) -> None:
    table = tmp_path / f"t{suffix}"
    run("--aligned", crops, "--model", tiny_path, "--out", table)
    whole = table.read_bytes()
    lines = whole.splitlines(keepends=True)
    upto = kept + 2 + (suffix == ".csv")  # the file before the torn row is not known to be whole, and goes with it
    table.write_bytes(b"".join(lines[:upto])[:-torn])
    _, err = run("--aligned", crops, "--model", tiny_path, "--out", table, "--resume")
    assert f"{kept} files were in the table already" in err
    assert table.read_bytes() == whole


@pytest.mark.parametrize("torn", [0, 5, 40])
def test_a_table_without_rows_is_begun_anew(torn: int, crops: Path, tiny_path: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(",".join(COLUMNS)[:torn])
    run("--aligned", crops, "--model", tiny_path, "--out", tmp_path / "t.csv", "--resume")
    assert len(read(tmp_path / "t.csv")) == COUNT


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b"name,price\r\nscrew,1\r\n"),
        ("t.csv", b"name,price"),
        ("t.csv", b"\xff\xfe\x00"),
        ("t.csv", ",".join(COLUMNS).encode() + b"\r\na.png,0,much,,,,,,,\r\n"),
        ("t.csv", ",".join(COLUMNS).encode() + b"\r\na.png,0,nan,,,,,,,\r\n"),
        ("t.csv", ",".join(COLUMNS).encode() + b"\r\na.png,0\r\n"),
        ("t.jsonl", b'{"a": 1}\n'),
        ("t.jsonl", b'{"a": 1}'),
        ("t.jsonl", b"[" * 100_000 + b"\n"),
        ("t.jsonl", b"3\n"),
        ("t.parquet", b"PAR1 no"),
        ("t.parquet.part", b"text\n"),
    ],
)
def test_another_file_is_not_gone_on_with(
    name: str, content: bytes, crops: Path, tiny_path: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    out = tmp_path / name.removesuffix(".part")
    _, err = run("--aligned", crops, "--model", tiny_path, "--out", out, "--resume", code=2)
    assert "is no table of scores" in err
    assert (tmp_path / name).read_bytes() == content
    assert [path.name for path in tmp_path.glob("t.*")] == [name]


@posix
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume"], "--resume goes on with a table; name it by --out"),
        (["--resume", "--report", "r.html"], "name it by --out"),
        (["--resume", "--out", "/dev/null"], "--resume goes on with a file"),
        (["--out", "t.csv", "--report", "r.csv"], "ends in '.csv', wanted one of: .html, .htm"),
        (["--out", "t.csv", "--report", "link.html"], "is the file of --out t.csv, too"),
        (["--report", "crops/photo.html"], "is an input"),
        (["--out", "crops/photo.csv"], "is an input"),
        (["--report-faces", "-1"], "--report-faces"),
        (["--max-pixels", "0"], "--max-pixels"),
    ],
)
def test_wrong_outputs_are_refused_before_the_work(
    arguments: list[str], message: str, crops: Path, tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.link("crops/00.png", "crops/photo.html")
    os.link("crops/01.png", "crops/photo.csv")
    Path("link.html").symlink_to("t.csv")
    before = {path: path.read_bytes() for path in crops.iterdir()}
    inputs = ["crops", "crops/00.png", "crops/photo.csv"]
    _, err = run("--aligned", *inputs, "--model", tiny_path, *arguments, code=2)
    assert message in " ".join(err.split())
    assert {path: path.read_bytes() for path in crops.iterdir()} == before
    assert not Path("t.csv").exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_run_at_a_time(suffix: str, crops: Path, tiny_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    table = tmp_path / f"t{suffix}"
    other = LineFile(tmp_path / "t.parquet.part" if suffix == ".parquet" else table)
    other.write(b"row of the other\n")
    _, err = run("--aligned", crops, "--model", tiny_path, "--out", table, code=2)
    assert "is being written by another run" in err
    assert other.path.read_bytes() == b"row of the other\n"
    other.close()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_run_that_fails_leaves_the_table_before(suffix: str, crops: Path, tiny_path: Path, tmp_path: Path) -> None:
    table = tmp_path / f"t{suffix}"
    run("--aligned", crops, "--model", tiny_path, "--out", table)
    before = table.read_bytes()
    run("--aligned", crops, "--model", tmp_path / "gone.onnx", "--out", table, code=1)
    assert table.read_bytes() == before
    run("--aligned", crops, "--model", tmp_path / "gone.onnx", "--out", tmp_path / f"new{suffix}", code=1)
    run("--aligned", crops / "07.png", "--model", tiny_path, "--out", table)
    assert [Path(row["path"]).name for row in read(table)] == ["07.png"]
    assert [path.name for path in tmp_path.glob("*.*") if path != tiny_path] == [table.name]


@posix
def test_names_in_tables(tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["+1.png", "-2.png", "@A1.png", "=1+1.png", "\t3.png", "\r4.png", "a\n=b.png", "c\x1b[2J.png", 'd,"e".png']
    for name, crop in zip(names, faces(len(names)), strict=True):
        Path(name).write_bytes(cv2.imencode(".png", crop)[1].tobytes())
    expected = [
        "./+1.png",
        "./-2.png",
        "./@A1.png",
        "./=1+1.png",
        r"./\t3.png",
        r"./\r4.png",
        r"a\n=b.png",
        r"c\x1b[2J.png",
    ]
    arguments = ("--aligned", "--model", tiny_path, "--out")
    run(*arguments, "t.csv", "--", *names)
    run(*arguments, "t.jsonl", "--", *names)
    assert [row["path"] for row in read(Path("t.csv"))] == [*expected, names[-1]]
    assert len(Path("t.csv").read_bytes().splitlines()) == 1 + len(names)
    assert [row["path"] for row in read(Path("t.jsonl"))] == names
    for table in ("t.csv", "t.jsonl"):
        assert "nothing was left to do" in run(*arguments, table, "--resume", "--", *names)[1]


def test_files_that_look_alike_in_the_table_are_all_scored(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["a\x01.png", r"a\x01.png"]
    for name, crop in zip(names, faces(2), strict=True):
        Path(name).write_bytes(cv2.imencode(".png", crop)[1].tobytes())
    arguments = ("--aligned", "--model", tiny_path, "--out", "t.csv", "--resume", "--")
    run(*arguments, names[0])
    run(*arguments, *names)
    rows = read(Path("t.csv"))
    assert len({row["path"] for row in rows}) == 1
    assert len({row["score"] for row in rows}) == 2


def test_a_face_without_a_number_is_an_error_of_its_own(crops: Path, tmp_path: Path) -> None:
    model = tiny_model(tiny_card())
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        if values.dtype == np.float32 and values.ndim == 4:
            weights.CopyFrom(numpy_helper.from_array(np.full_like(values, np.inf), weights.name))
    onnx.save(model, tmp_path / "bad.onnx")
    table = tmp_path / "t.jsonl"
    _, err = run(
        crops, "--aligned", "--model", tmp_path / "bad.onnx", "--out", table, "--report", tmp_path / "r.html", code=3
    )
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    assert [(row["face"], row["score"], row["error"]) for row in rows] == [(0, None, NO_NUMBER)] * COUNT
    assert f"0 faces in 0 of {COUNT} files; {COUNT} without a score" in err


def test_faces_without_a_number_leave_the_others_of_the_file(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop = faces(1)[0]
    box, points = (0.0, 0.0, 112.0, 112.0), np.zeros((5, 2), np.float32)
    found = [FaceQuality(box, points, 0.9, score, crop) for score in (0.25, float("nan"), 0.75)]

    def assess(self: QualityScorer, image: Path) -> list[FaceQuality]:
        raise ScoreError("no number", np.array([face.score for face in found], np.float32), found)

    monkeypatch.setattr(QualityScorer, "assess", assess)
    with QualityScorer(tiny_path) as scorer:
        (rows,) = score_files(scorer, [tmp_path / "a.png"], thumbnails=True)
    assert [(row.face, row.score, row.error) for row in rows] == [(0, 0.25, ""), (1, None, NO_NUMBER), (2, 0.75, "")]


def test_no_memory_for_one_picture(crops: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = QualityScorer.score

    def score(self: QualityScorer, face: np.ndarray) -> float:
        if (face == faces(3)[2]).all():
            raise MemoryError
        return real(self, face)

    monkeypatch.setattr(QualityScorer, "score", score)
    with QualityScorer(tiny_path) as scorer:
        found = [rows[0] for rows in score_files(scorer, sorted(crops.iterdir())[:4], aligned=True)]
    assert [row.score is None for row in found] == [False, False, True, False]
    assert "not enough memory" in found[2].error


def test_limits_are_options(crops: Path, tiny_path: Path) -> None:
    arguments = (crops / "00.png", "--aligned", "--model", tiny_path)
    assert "112 x 112" in run(*arguments, "--max-pixels", 100, code=3)[1]
    assert "wanted at most 99" in run(*arguments, "--max-bytes", 99, code=3)[1]
    assert "112 x 112" in run(crops / "00.png", "--model", tiny_path, "--max-pixels", 100, code=3)[1]
    run(*arguments, "--max-pixels", 112 * 112, "--max-bytes", 10**9)


def test_failures_and_what_was_left_out_are_summed_up(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{index}.jpg" for index in range(50)]
    for path in paths:
        path.write_bytes(b"" if path.stem == "0" else b"no image")
    left = (LeftOut(".heic", 3, "p/\x1bIMG.HEIC", "pip install pillow-heif"),)
    monkeypatch.setattr("sdk.commands.score.find_images", lambda names: Found(paths, left))
    _, err = run("x", "--aligned", "--model", tiny_path, "--out", tmp_path / "t.csv", code=3)
    assert err.count("no score: ") == 20
    assert "and 30 more without a score; all of them by reason:\n       49 x " in err
    assert r"not looked at: 3 x .heic, the first p/\x1bIMG.HEIC; pip install pillow-heif" in err
    assert len(read(tmp_path / "t.csv")) == 50


@posix
def test_rows_come_as_they_are_scored(crops: Path, tiny_path: Path) -> None:
    waits = STOPPED.replace("os.kill(os.getpid(), getattr(signal, name))", "input()").replace("time.sleep(60)", "pass")
    waits = waits.replace("args=(300,)", "args=(0,)")
    arguments = ["3", "-", "score", "--aligned", str(crops), "--model", str(tiny_path)]
    with subprocess.Popen(
        [sys.executable, "-c", waits, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        assert process.poll() is None
        assert lines[0] == ",".join(COLUMNS) + "\n"
        process.stdin.write("\n")
        process.stdin.close()
        assert len(process.stdout.readlines()) == COUNT - 3
    assert process.returncode == 0


@posix
@pytest.mark.parametrize(("no_color", "columns"), [("", 79), ("1", 80)])
def test_rows_on_a_terminal(no_color: str, columns: int, tiny_path: Path, tmp_path: Path) -> None:
    import pty

    folder, name = tmp_path / ("long" * 30) / "[b]x[", ":smile: \x1b[31m" + "n" * 18 + ".png"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(cv2.imencode(".png", faces(1)[0])[1].tobytes())
    ours, theirs = pty.openpty()
    program = "from sdk.commands.app import app; app()"
    arguments = ["score", "--aligned", str(folder / name), "--model", str(tiny_path)]
    environment = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": no_color, "LC_ALL": "C.UTF-8"}
    environment["COLUMNS"] = str(columns)
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=theirs, stderr=subprocess.PIPE, cwd=ROOT, env=environment
    ):
        os.close(theirs)
        said = b""
        while b".png\r\n" not in said:
            said += os.read(ours, 4096)
    os.close(ours)
    header, row = said.decode().splitlines()
    assert header.split() == ["score", "face", "file"]
    assert ("\x1b[38;5;" in row) != bool(no_color)
    plain = re.sub("\x1b\\[[0-9;]*m", "", row)
    score, bar, face, path = plain.split(maxsplit=3)
    assert 0 < float(score) < 1
    assert bar == "█" * round(10 * float(score))
    assert (face, path) == ("0", rf"{folder if columns == 80 else '.../[b]x['}/:smile: \x1b[31m{'n' * 18}.png")


@posix
def test_a_page_of_a_run_that_was_gone_on_with(crops: Path, tiny_path: Path, tmp_path: Path) -> None:
    table, page, whole = tmp_path / "t.csv", tmp_path / "r.html", tmp_path / "whole.html"
    stopped(7, "SIGKILL", crops, "--model", tiny_path, "--out", table, "--report", page)
    assert not page.exists()
    run("--aligned", crops, "--model", tiny_path, "--out", table, "--report", page, "--resume")
    run("--aligned", crops, "--model", tiny_path, "--report", whole)
    figures = [[line for line in path.read_text().splitlines() if "<figure" in line] for path in (page, whole)]
    assert len(figures[0]) == COUNT
    assert figures[0] == figures[1]


def test_a_picture_is_cut_again_where_the_face_is(tiny_path: Path, tmp_path: Path) -> None:
    photo = np.zeros((300, 400, 3), np.uint8)
    photo[60:172, 100:212] = faces(1)[0]
    cv2.imwrite(str(tmp_path / "p.png"), photo)
    points = np.array(
        [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
    )

    class Detector:
        def detect(self, image: np.ndarray) -> list[Any]:
            from sdk import Face

            return [Face((100.0, 60.0, 112.0, 112.0), (points + np.array([100, 60])).astype(np.float32), 0.9)]

    with QualityScorer(tiny_path, detector=Detector()) as scorer:  # type: ignore[arg-type]
        (found,) = next(score_files(scorer, [tmp_path / "p.png"], thumbnails=True))
    assert found.thumbnail[:2] == b"\xff\xd8"
    assert cut_picture(scorer, tmp_path / "p.png", found) == found.thumbnail
    assert cut_picture(scorer, tmp_path / "gone.png", found) == b""
