"""fiqa video, with a stand-in for the detector."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import cv2
import pytest
from mjpeg import MjpegServer
from squares import SquareDetector, frame, walk
from typer.testing import CliRunner, Result

from sdk.cli import app


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.video.scorer.FaceDetector", lambda **options: SquareDetector())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Frames of a square that walks, and goes."""
    path = tmp_path / "frames"
    path.mkdir()
    for index, picture in enumerate([*walk(12), *(frame() for _ in range(3))]):
        cv2.imwrite(str(path / f"{index:03}.png"), picture)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["video", *map(str, arguments)])


def test_detectors_are_as_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, object]] = []
    monkeypatch.setattr("sdk.video.scorer.FaceDetector", lambda **options: made.append(options) or SquareDetector())
    assert run(folder, "--detector", "yunet", "--detection-side", 960).exit_code == 0
    assert made
    assert {(one["model"], one["passes"]) for one in made} == {("yunet", (960,))}


def test_everything_is_written(folder: Path, tmp_path: Path) -> None:
    out, saved, shots = tmp_path / "frames.jsonl", tmp_path / "out.mp4", tmp_path / "shots"
    options = ("--out", out, "--save", saved, "--best-shots", shots, "--threshold", "-1", "--keep", "2", "--every", "2")
    result = run(folder, *options)
    assert result.exit_code == 0, result.output
    assert "15 frames, 8 of them scored, 6 faces; latency " in result.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(15))
    assert [row["state"] for row in rows[:3]] == ["new", "between", "new"]
    assert cv2.VideoCapture(str(saved)).get(cv2.CAP_PROP_FRAME_COUNT) == 15
    words = [json.loads(line) for line in (shots / "shots.jsonl").read_text().splitlines()]
    assert [(word["final"], len(word["shots"])) for word in words] == [(False, 1), (True, 2)]
    assert len(list(shots.glob("*.jpg"))) == len(list(shots.glob("*-crop.png"))) == 3


def test_overlay_colours_the_box_and_leaves_the_frame_alone(folder: Path, tmp_path: Path) -> None:
    assert run(folder, "--save", tmp_path / "out.avi").exit_code == 0
    capture = cv2.VideoCapture(str(tmp_path / "out.avi"))
    drawn = capture.read()[1].astype(int)
    plain = cv2.imread(str(folder / "000.png")).astype(int)
    changed = (abs(drawn - plain).max(axis=2) > 60).astype("uint8")
    x, y, _, height = cv2.boundingRect(changed[:150])
    assert (abs(x - 10), abs(y + height - 101)) < (4, 4)  # the box, and its label above
    assert changed[166:, :60].mean() > 0.5  # counters below
    assert changed[:40].sum() == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing.mp4"], 2, "nothing.mp4 does not exist"),
        (["--out", "a.csv"], 2, "a.csv ends in '.csv', wanted one of: .jsonl, .parquet"),
        (["--save", "a.gif"], 2, "a.gif ends in '.gif'"),
        (["--every", "0"], 2, "every is 0"),
        (["--serve", "99999"], 2, "port 99999 of 127.0.0.1 cannot be had"),
        (["--device", "abacus"], 1, "unknown device 'abacus'"),
        (["csi:0"], 1, "without GStreamer"),
    ],
)
def test_wrong_usage(folder: Path, arguments: list[str], code: int, message: str) -> None:
    if "csi:0" in arguments and cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        pytest.skip("this OpenCV has GStreamer")
    source = [] if len(arguments) == 1 else [folder]
    result = run(*source, *arguments)
    assert result.exit_code == code, result.output
    assert message in result.stderr.replace("\n", " ")


def test_a_window_needs_an_opencv_that_has_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise cv2.error("The function is not implemented")

    monkeypatch.setattr(cv2, "namedWindow", refuse)
    result = run(folder, "--show")
    assert result.exit_code == 2
    assert "--show needs windows, which this OpenCV" in result.stderr


def test_a_full_disk_ends_the_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "full.jsonl").symlink_to("/dev/full")
    result = run(folder, "--out", tmp_path / "full.jsonl")
    assert result.exit_code == 1
    assert "full.jsonl cannot be written: No space left on device; make room" in result.stderr


# A shell that starts the tests in the background lets them ignore Ctrl-C, and so would what they start.
RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {here!r})
import sdk.video.scorer
from squares import SquareDetector
sdk.video.scorer.FaceDetector = lambda **options: SquareDetector()
from sdk.cli import app
app(sys.argv[1:])
"""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_signals_end_a_live_stream_in_order(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    server = MjpegServer(walk(30))
    out = tmp_path / "frames.jsonl"
    arguments = ["video", server.url, "--out", str(out), "--best-shots", str(tmp_path / "shots"), "--serve", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", RUN.format(here=str(Path(__file__).parents[1])), *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FIQA_OFFLINE": "1"},
    )
    try:
        assert process.stderr is not None
        page = process.stderr.readline().split("page: ")[1].strip()
        deadline = time.monotonic() + 60
        while (not out.exists() or out.stat().st_size < 2000) and time.monotonic() < deadline:
            time.sleep(0.05)
        with urllib.request.urlopen(page + "health") as answer:
            assert answer.status == 200
        process.send_signal(sent)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        server.kill()
    assert process.returncode == code, errors
    assert [json.loads(line)["state"] for line in out.read_text().splitlines()].count("new") > 5
    (word,) = [json.loads(line) for line in (tmp_path / "shots" / "shots.jsonl").read_text().splitlines()][-1:]
    assert word["final"]
    assert "0 reconnects" in errors
