"""fiqa video, with a stand-in for the detector."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner, Result

from sdk.commands.app import app
from tests.support.mjpeg import MjpegServer
from tests.support.squares import SquareDetector, frame, walk


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.video.video_scorer.FaceDetector", lambda **options: SquareDetector())


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
    monkeypatch.setattr(
        "sdk.video.video_scorer.FaceDetector", lambda **options: made.append(options) or SquareDetector()
    )
    assert run(folder, "--detector", "yunet", "--detection-side", 960).exit_code == 0
    assert made
    assert {(one["model"], one["passes"]) for one in made} == {("yunet", (256, 960))}


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


def test_faces_are_judged_and_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the network in the package: a photo, and the same one out of focus."""
    monkeypatch.undo()
    photo = cv2.imread(str(Path(__file__).parents[3] / "examples/media/astronaut.jpg"))
    (tmp_path / "frames").mkdir()
    cv2.imwrite(str(tmp_path / "frames" / "1.png"), photo)
    cv2.imwrite(str(tmp_path / "frames" / "2.png"), cv2.GaussianBlur(photo, (0, 0), 6))
    out, shots = tmp_path / "frames.jsonl", tmp_path / "shots"
    options = ("--accept", "identify", "--reasons", "--out", out, "--best-shots", shots, "--device", "cpu")
    result = run(tmp_path / "frames", *options)
    assert result.exit_code == 0, result.output
    (good,), (soft,) = (json.loads(line)["faces"] for line in out.read_text().splitlines())
    assert (good["accepted"], good["reasons"], soft["accepted"]) == (True, [], False)
    assert soft["reasons"][0] == "blurred"
    assert good["quality"] > soft["quality"]
    early, final = (json.loads(line) for line in (shots / "shots.jsonl").read_text().splitlines())
    assert (early["final"], final["final"], final["refused"]) == (False, True, {"rejected": 1})
    assert [(shot["frame"], shot["accepted"], shot["reasons"]) for shot in final["shots"]] == [(0, True, [])]


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
        (["--serve", "99999"], 2, "port 99999 of 127.0.0.1 cannot be used"),
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


def test_results_go_on_where_the_last_run_ended(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "frames.jsonl"
    for runs in (1, 2):
        assert run(folder, "--out", out).exit_code == 0
        assert [json.loads(line)["index"] for line in out.read_text().splitlines()] == [*range(15)] * runs


@pytest.mark.parametrize("spelling", ["same", "roundabout", "symbolic", "hard"])
@pytest.mark.parametrize("option", ["--save", "--best-shots", "--out"])
def test_no_output_destroys_the_source(folder: Path, tmp_path: Path, option: str, spelling: str) -> None:
    name = {"--save": "clip.mp4", "--best-shots": "frames", "--out": "clip.jsonl"}[option]
    source = tmp_path / name
    if option != "--best-shots":
        source.write_bytes(b'{"index": 0}\n')
    if spelling == "hard" and option == "--best-shots":
        pytest.skip("folders have no hard links")
    target = {
        "same": source, "roundabout": tmp_path / "frames" / ".." / name, "symbolic": tmp_path / f"link-{name}",
        "hard": tmp_path / f"hard-{name}",
    }[spelling]  # fmt: skip
    if spelling == "symbolic":
        target.symlink_to(source)
    if spelling == "hard":
        target.hardlink_to(source)
    before = sorted(folder.iterdir()), source.stat()
    result = run(source, option, target)
    assert result.exit_code == 2, result.output
    assert (sorted(folder.iterdir()), source.stat().st_ino, source.stat().st_size) == (
        before[0], before[1].st_ino, before[1].st_size
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "shots/shots.jsonl", "--best-shots", "shots"], "is the file of --out"),
        (["--out", "old.parquet"], "--out old.parquet is there and would be lost"),
        (["--save", "old.avi"], "--save old.avi is there and would be lost"),
        (["--out", "old.jsonl"], "old.jsonl is there and holds something else"),
        (["--save", "/dev/null/x.mp4"], "cannot be written"),
        (["--best-shots", "old.avi"], "cannot be written"),
        (["--keep", "0"], "count is 0"),
        (["--threshold", "nan"], "accept is nan"),
        (["--threshold", "1", "--accept", "enrol"], "--threshold and --accept both say what is accepted"),
        (["--accept", "enroll"], "has no point 'enroll'"),
        (["--min-size", "nan"], "min_size is nan"),
        (["--serve", "0", "--host", "no.such.host.invalid"], "port 0 of no.such.host.invalid cannot be used"),
    ],
)
def test_options_that_would_destroy_or_make_no_sense(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("old.parquet", "old.avi", "old.jsonl"):
        (tmp_path / name).write_text("work of hours")
    result = run(folder, *options)
    assert result.exit_code == 2, result.output
    assert message in result.stderr.replace("\n", " ")
    assert {(tmp_path / name).read_text() for name in ("old.parquet", "old.avi", "old.jsonl")} == {"work of hours"}
    assert not list(tmp_path.glob(".fiqa-*"))


def test_the_source_may_come_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_SOURCE", str(folder))
    assert "15 frames" in run().stderr


def test_the_page_that_fails_does_not_end_the_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("sdk.video.web.content.Overlay.note", fail)
    result = run(folder, "--out", tmp_path / "a.jsonl", "--serve", "0")
    assert result.exit_code == 0, result.output
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 15


RUN = """
import sys
sys.path.insert(0, {here!r})
import sdk.video.video_scorer
from tests.support.squares import SquareDetector
sdk.video.video_scorer.FaceDetector = lambda **options: SquareDetector()
from sdk.commands.app import app
app(sys.argv[1:])
"""


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", RUN.format(here=str(Path(__file__).parents[1])), "video", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FIQA_OFFLINE": "1"},
    )


@pytest.mark.parametrize(
    ("sent", "code"),
    [([signal.SIGINT], 130), ([signal.SIGTERM], 0), ([signal.SIGHUP], 0), ([signal.SIGINT] * 3, 130),
     ([signal.SIGTERM] * 3, 0)],
)  # fmt: skip
def test_signals_end_a_live_stream_in_order(tmp_path: Path, sent: list[signal.Signals], code: int) -> None:
    server = MjpegServer(walk(30))
    out = tmp_path / "frames.jsonl"
    process = start(server.url, "--out", str(out), "--best-shots", str(tmp_path / "shots"), "--serve", "0")
    try:
        assert process.stderr is not None
        page = process.stderr.readline().split("page: ")[1].strip()
        deadline = time.monotonic() + 60
        while (not out.exists() or out.stat().st_size < 2000) and time.monotonic() < deadline:
            time.sleep(0.05)
        with urllib.request.urlopen(page + "health") as answer:
            assert answer.status == 200
        for one in sent:
            process.send_signal(one)
            time.sleep(0.1)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        server.kill()
    assert process.returncode == code, errors
    assert [json.loads(line)["state"] for line in out.read_text().splitlines()].count("new") > 5
    (word,) = [json.loads(line) for line in (tmp_path / "shots" / "shots.jsonl").read_text().splitlines()][-1:]
    assert word["final"]
    if signal.SIGHUP not in sent:  # whose terminal is gone
        assert "0 reconnects" in errors


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_camera_that_does_not_answer_is_not_waited_for(sent: signal.Signals, code: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = start(f"http://me:hunter2@127.0.0.1:{silent.getsockname()[1]}/?token=hunter2")
        try:
            camera, _ = silent.accept()
            time.sleep(0.3)
            sent_at = time.monotonic()
            process.send_signal(sent)
            _, errors = process.communicate(timeout=60)
            camera.close()
        finally:
            process.kill()
    assert process.returncode == code, errors
    assert time.monotonic() - sent_at < 3  # OpenCV waits for 4 s
    assert "hunter2" not in errors


def test_libraries_keep_the_address_to_themselves() -> None:
    process = start("rtsp://me:hunter2@127.0.0.1:9/hunter2?token=hunter2")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.count("\n") == 1  # our own line, and nothing of OpenCV's or FFmpeg's
    assert "rtsp://***@127.0.0.1:9/hunter2?*** cannot be opened" in errors
