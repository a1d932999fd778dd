"""The command line: what it scores, writes, says and returns."""

import csv
import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import sdk.detection.face_detector
from sdk import Face, QualityScorer, __version__
from sdk.commands.app import app
from sdk.commands.doctor import ONNXRUNTIME, _wheels
from sdk.images.decoding import MAX_BYTES, MAX_PIXELS
from sdk.models.catalog import catalog
from sdk.results_io.rows import COLUMNS
from sdk.results_io.scoring import NO_FACE, score_files
from sdk.video.video_scorer import DETECTION_SIDE
from tests.support.catalogue import CONTENT, entry, publish
from tests.support.tiny_models import faces

ROOT = Path(__file__).parents[3]
LANDMARKS = np.array([(38, 52), (74, 52), (56, 72), (42, 92), (71, 92)], np.float32)
BAD = {
    "empty.jpg": (b"", "empty"),
    "text.jpg": (b"this is text, not an image", "not an image"),
    "truncated.jpg": (cv2.imencode(".jpg", faces(1)[0])[1].tobytes()[:900], "truncated"),
}


class MarkedFaces:
    """A detector for tests: as many faces as the image's first pixel says, each 112 pixels further to the right."""

    def detect(self, image: np.ndarray) -> list[Face]:
        return [
            Face((112.0 * index, 0.0, 112.0, 112.0), LANDMARKS + np.array([112 * index, 0], np.float32), 0.9)
            for index in range(int(image[0, 0, 0]))
        ]


@pytest.fixture(autouse=True)
def marked_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sdk.detection.face_detector.FaceDetector
    monkeypatch.setattr(
        sdk.detection.face_detector, "FaceDetector", lambda model=None: real(model) if model else MarkedFaces()
    )


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """A folder with a sub-folder, of five aligned crops."""
    folder = tmp_path / "crops"
    for index, crop in enumerate(faces(5)):
        path = folder / ("b" if index > 2 else "a") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), crop)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of photos with none, one and three faces."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for count in (0, 1, 3):
        photo = np.concatenate(list(faces(3, seed=count)), axis=1)
        photo[0, 0] = count
        cv2.imwrite(str(folder / f"{count}.png"), photo)
    return folder


def run(*arguments: object, code: int = 0) -> tuple[str, str]:
    """Run `fiqa`; returns what went to stdout and to stderr."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def test_score_of_aligned_crops_equals_the_api(crops: Path, tiny_path: Path) -> None:
    out, err = run("score", crops, "--aligned", "--model", tiny_path)
    rows = list(csv.DictReader(out.splitlines()))
    assert [row["path"] for row in rows] == [str(path) for path in sorted(crops.rglob("*.png"))]
    with QualityScorer(tiny_path) as scorer:
        expected = scorer.score_batch(faces(5))
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose([float(row["score"]) for row in rows], expected, atol=1e-6)
    assert "5 faces in 5 of 5 files; 0 without a score" in err


def test_score_of_photos_keeps_order_and_counts_faces(photos: Path, tiny_path: Path) -> None:
    out, err = run("score", photos, "--model", tiny_path, "--threads", 3, code=3)
    rows = list(csv.DictReader(out.splitlines()))
    assert [(Path(row["path"]).name, row["face"], row["x"]) for row in rows] == [
        ("0.png", "", ""),
        ("1.png", "0", "0.0"),
        ("3.png", "0", "0.0"),
        ("3.png", "1", "112.0"),
        ("3.png", "2", "224.0"),
    ]
    assert rows[0]["error"] == NO_FACE
    assert rows[4]["landmarks"].split()[:2] == ["262.0", "52.0"]
    assert f"0.png: {NO_FACE}" in err
    assert "4 faces in 2 of 3 files; 1 without a score" in err


def test_bad_files_are_listed_and_the_rest_is_scored(crops: Path, tiny_path: Path, tmp_path: Path) -> None:
    for name, (content, _) in BAD.items():
        (crops / name).write_bytes(content)
    cv2.imwrite(str(crops / "large.png"), np.zeros((200, 200, 3), np.uint8))
    table = tmp_path / "scores.jsonl"
    out, err = run("score", crops, "--aligned", "--model", tiny_path, "--out", table, code=3)
    assert out == ""
    rows = {Path(row["path"]).name: row for row in map(json.loads, table.read_text().splitlines())}
    assert sum(row["score"] is not None for row in rows.values()) == 5
    for name, reason in {**{name: reason for name, (_, reason) in BAD.items()}, "large.png": "(200, 200, 3)"}.items():
        assert rows[name]["score"] is None
        assert reason in rows[name]["error"]
        assert re.search(rf"no score: .*{name}: .*{re.escape(reason)}", err)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_tables_hold_the_same(suffix: str, photos: Path, tiny_path: Path, tmp_path: Path) -> None:
    table = tmp_path / "new" / f"scores{suffix}"
    run("score", photos, "--model", tiny_path, "--out", table, code=3)
    if suffix == ".csv":
        rows = [{key: value or None for key, value in row.items()} for row in csv.DictReader(table.open())]
        points = [row["landmarks"] and [float(value) for value in row["landmarks"].split()] for row in rows]
    else:
        if suffix == ".jsonl":
            rows = [json.loads(line) for line in table.read_text().splitlines()]
        else:
            rows = pytest.importorskip("pyarrow.parquet").read_table(table).to_pylist()
        points = [row["landmarks"] for row in rows]
    assert [tuple(row) for row in rows] == [COLUMNS] * 5
    assert points[0] is None
    assert points[1] == LANDMARKS.reshape(-1).tolist()
    assert [row["face"] and int(row["face"]) for row in rows] == [None, 0, 0, 1, 2]
    assert [row["error"] for row in rows] == [NO_FACE, None, None, None, None]
    with QualityScorer(tiny_path) as scorer:
        expected = [face.score for name in ("1.png", "3.png") for face in scorer.assess(photos / name)]
    np.testing.assert_allclose([float(row["score"]) for row in rows[1:]], expected, atol=1e-6)
    assert [path.name for path in table.parent.iterdir()] == [table.name]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.jpg"], 2, "missing.jpg: no such file or folder, and no match as a pattern"),
        (["*.nothing"], 2, "no match"),
        (["."], 2, "no image in ."),
        ([], 2, "Missing argument"),
        (["CROPS", "--out", "scores.txt"], 2, "ends in '.txt', wanted one of: .csv, .jsonl, .parquet"),
        (["CROPS", "--out", "/dev/null/scores.csv"], 2, "cannot be written"),
        (["CROPS", "--report", "."], 2, "is a folder"),
        (["CROPS", "--threads", "0"], 2, "threads is 0"),
        (["CROPS", "--device", "tpu"], 1, "unknown device 'tpu'"),
        (["CROPS", "--model", "ediffiqa-x"], 1, "unknown model 'ediffiqa-x'"),
        (["CROPS", "--model", "ediffiqa-t"], 1, "FIQA_OFFLINE"),
        (["CROPS", "--model", "gone.onnx"], 1, "gone.onnx cannot be read"),
        (["CROPS", "--detector", "yunet"], 1, "FIQA_OFFLINE"),
        (["CROPS", "--detector", "fiqa-nano"], 1, "fiqa-nano is a model for quality, wanted one for detection"),
        # Refused by the catalogue's card: nothing is downloaded.
        (["CROPS", "--model", "cosface_r100"], 1, "cosface_r100 is a model for recognition, wanted one for quality"),
        (["CROPS", "--model", "lightqnet"], 1, "only fiqa-train reads lightqnet, the file lightqnet-dm100.pb"),
    ],
)
def test_errors_say_what_is_wrong(
    arguments: list[str], code: int, message: str, crops: Path, tiny_path: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    model = [] if "--model" in arguments else ["--model", tiny_path]
    _, err = run("score", *(crops if word == "CROPS" else word for word in arguments), *model, code=code)
    assert message in err


def test_opencv_says_nothing(tiny_path: Path, tmp_path: Path) -> None:
    data = cv2.imencode(".bmp", faces(1)[0])[1].tobytes()
    (tmp_path / "cut.bmp").write_bytes(data[:-4000])
    arguments = ["score", "--aligned", str(tmp_path / "cut.bmp"), "--model", str(tiny_path)]
    code = f"from sdk.commands.app import app; app({arguments})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 3
    first, last = done.stderr.splitlines()
    assert first.endswith("the BMP image is truncated or damaged; copy or download it again")
    assert last.startswith("0 faces in 0 of 1 file;")


def test_parquet_without_pyarrow_is_refused_before_the_work(
    crops: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    _, err = run("score", crops, "--aligned", "--model", tiny_path, "--out", "scores.parquet", code=2)
    assert "pip install 'fiqa[report]'" in err
    assert not Path("scores.parquet").exists()


def test_what_was_scored_is_written_when_interrupted(
    crops: Path, tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two_then_interrupt(*arguments: object, **options: object) -> object:
        found = score_files(*arguments, **options)
        yield next(found)
        yield next(found)
        raise KeyboardInterrupt

    monkeypatch.setattr("sdk.results_io.run.score_files", two_then_interrupt)
    table = tmp_path / "scores.csv"
    _, err = run("score", crops, "--aligned", "--model", tiny_path, "--out", table, code=130)
    assert len(table.read_text().splitlines()) == 3
    assert "stopped; the same command with --resume goes on" in err


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_is_not_utf8(tiny_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(cv2.imencode(".png", faces(1)[0])[1].tobytes())
    run("score", folder, "--aligned", "--model", tiny_path, "--out", tmp_path / "s.parquet")
    run("score", folder, "--aligned", "--model", tiny_path, "--report", tmp_path / "r.html")
    assert "caf\\xe9.png" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_model_a_line() -> None:
    lines = run("models", "list")[0].splitlines()
    assert [line.split()[0] for line in lines[2:]] == list(catalog())
    assert max(map(len, lines)) <= 80
    assert lines[2].split() == ["fiqa-nano", "quality", "4.0", "MB", "embedded", "Apache-2.0"]


def test_models_list_show_and_verify(tiny_path: Path) -> None:
    assert "ediffiqa-t" in run("models", "list")[0]
    assert json.loads(run("models", "show", tiny_path, "--json")[0])["licence"] == "Apache-2.0"
    assert json.loads(run("models", "show", "ediffiqa-s", "--json")[0])["variant"] == "ediffiqa-s"
    assert "CC-BY-4.0" in run("models", "show", "ediffiqa-t")[0]
    assert f"good: {tiny_path}" in run("models", "verify", tiny_path)[0]
    assert "not on this machine" in run("models", "verify", "ediffiqa-m", code=1)[0]
    assert "unknown model" in run("models", "show", "nobody", code=1)[1]


OF_A_FILE = {"name", "task", "licence", "input", "file", "size", "sha256"}
OF_ONNX = {"format", "precision"}
OF_THE_CATALOGUE = {"ship", "ship_reason", "summary", "urls", "attribution", "source"}


@pytest.mark.parametrize(
    ("name", "has", "lacks"),
    [
        ("tiny.onnx", OF_A_FILE | OF_ONNX | {"path", "score_range"}, {"urls", "ship", "proven", "calibration"}),
        ("fiqa-nano", OF_A_FILE | OF_ONNX | {"path", "score_range", "proven", "verification", "ship"}, {"urls"}),
        ("ediffiqa-t", OF_A_FILE | OF_ONNX | OF_THE_CATALOGUE | {"score_range"}, {"path", "proven", "engine"}),
        ("yunet", OF_A_FILE | OF_ONNX | OF_THE_CATALOGUE | {"alternatives"}, {"score_range"}),
        ("mobilefacenet128", OF_A_FILE | OF_THE_CATALOGUE, {*OF_ONNX, "score_range", "proven", "engine"}),
        ("w600k_r50", OF_ONNX | OF_THE_CATALOGUE, {"size", "score_range", "proven"}),
        ("lightqnet", OF_A_FILE | OF_THE_CATALOGUE | {"score_range"}, OF_ONNX),
    ],
)
@pytest.mark.usefixtures("own_store")
def test_models_show_what_a_model_has(name: str, has: set[str], lacks: set[str], tiny_path: Path) -> None:
    facts = json.loads(run("models", "show", tiny_path if name == "tiny.onnx" else name, "--json")[0])
    assert has <= set(facts)
    assert not lacks & set(facts)
    if name in catalog():
        entry = catalog()[name]
        assert (facts["file"], facts["sha256"], facts["ship"]) == (entry.file, entry.sha256, entry.ship)
        assert facts.get("urls", []) == list(entry.urls)
        assert entry.ship_reason[:20] in run("models", "show", name)[0]
    else:
        assert facts["sha256"] == hashlib.sha256(tiny_path.read_bytes()).hexdigest()
        assert (facts["size"], facts["path"]) == (tiny_path.stat().st_size, str(tiny_path))


def test_models_verify_finds_a_damaged_file(
    own_store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "ediffiqa_s.onnx").write_bytes(tiny_path.read_bytes())
    monkeypatch.setenv("FIQA_MODELS", str(tmp_path / "models"))
    out, _ = run("models", "verify", "ediffiqa-s", code=1)
    assert "WRONG" in out
    assert "SHA-256" in out
    assert "damaged" in run("models", "list", code=1)[0]


def test_models_fetch_offline_says_what_to_do(own_store: Path) -> None:
    _, err = run("models", "fetch", "ediffiqa-t", code=1)
    assert "FIQA_OFFLINE forbids the network" in err
    assert "FIQA_MODELS" in err
    assert not own_store.exists()


def test_models_fetch_says_terms_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bound = dataclasses.replace(entry(("https://example.org/small.onnx",)), ship="no", ship_reason="Ask its authors.")
    publish(monkeypatch, bound)
    (tmp_path / "small.onnx").write_bytes(CONTENT)
    monkeypatch.setenv("FIQA_MODELS", str(tmp_path))
    out, err = run("models", "fetch", "small")
    assert "small.onnx" in out
    assert err.count("Ask its authors.") == 1


def test_doctor_says_what_runs(own_store: Path) -> None:
    out, _ = run("doctor")
    for word in ("onnxruntime", "opencv-python-headless", str(own_store)[:20], "CPUExecutionProvider", "runs on cpu"):
        assert word in out, word


def test_doctor_without_opencv(own_store: Path) -> None:
    code = "import sys; sys.modules['cv2'] = None; from sdk.commands.app import app; app(['doctor'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1, done.stderr
    (wrong,) = [line for line in done.stdout.splitlines() if "wrong" in line]
    assert "wrong cv2" in wrong
    assert "runs on cpu" in done.stdout


def test_what_needs_opencv_says_so() -> None:
    code = "import sys; sys.modules['cv2'] = None; from sdk.commands.app import app; app(['score', 'examples/media'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: OpenCV cannot be imported: ")
    assert done.stderr.endswith("; `fiqa doctor` says what to do\n")


def test_help_and_completion_need_no_opencv() -> None:
    code = "import sys; from sdk.commands.app import app; print('cv2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "False\n"


def test_doctor_finds_clashing_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wheel:
        def __init__(self, name: str) -> None:
            self.metadata = {"Name": name}
            self.version = "1.0"

    names = ["onnxruntime", "onnxruntime-gpu", "onnxruntime_extensions", "numpy"]
    monkeypatch.setattr("importlib.metadata.distributions", lambda: [Wheel(name) for name in names])
    finding = _wheels("onnxruntime", ONNXRUNTIME, "one")
    assert not finding.good
    assert finding.found == "onnxruntime 1.0, onnxruntime-gpu 1.0"
    assert "pip uninstall onnxruntime onnxruntime-gpu" in finding.advice


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("score --model fi", {"fiqa-nano", "fiqa-detector", "fiqa-reasons"}),
        ("score --detector y", {"yunet", "yunet-2026may"}),
        ("models fetch ediffiqa-t", {"ediffiqa-t", "ediffiqa-t-yakhyo"}),
        ("bench a", {"a.onnx", "a-folder/"}),
    ],
)
def test_words_are_completed(words: str, expected: set[str], tmp_path: Path) -> None:
    (tmp_path / "a.onnx").touch()
    (tmp_path / "a.txt").touch()
    (tmp_path / "a-folder").mkdir()
    typed = f"fiqa {words}"
    shell = {"_FIQA_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    program = [sys.executable, "-m", "fiqa"]
    done = subprocess.run(
        program, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **shell}, check=True
    )
    assert set(done.stdout.split()) == expected


def test_defaults_in_the_help_are_those_of_the_code() -> None:
    assert (MAX_PIXELS, MAX_BYTES, DETECTION_SIDE) == (64_000_000, 64 << 20, 640)
    score, video = (" ".join(run(name, "--help")[0].split()) for name in ("score", "video"))
    assert "(64 million)" in score
    assert "(64 MiB)" in score
    assert "(640)" in video


def test_the_module_is_called_fiqa() -> None:
    done = subprocess.run([sys.executable, "-m", "fiqa", "score"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert "Usage: fiqa score" in done.stderr


def test_version_and_a_real_process(crops: Path, tiny_path: Path) -> None:
    assert run("--version")[0] == f"fiqa {__version__}\n"
    program = "import sys; from sdk.commands.app import app; app()"
    done = subprocess.run(
        [sys.executable, "-c", program, "score", str(crops), "--aligned", "--model", str(tiny_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6
    assert "\r" not in done.stderr
