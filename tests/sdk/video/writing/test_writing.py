"""What is written while a stream runs."""

import errno
import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import pytest

from sdk import InputError, OutputError, VideoScorer
from sdk.video import BestShots
from sdk.video.writing.records import JsonRecords, open_records
from sdk.video.writing.shot_folder import ShotFolder
from sdk.video.writing.video_file import VideoFile
from tests.support.squares import BlueScorer, SquareDetector, frame, walk

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


def score(frames: list[np.ndarray], scorer: BlueScorer | None = None, **options: object) -> VideoScorer:
    return VideoScorer(frames, scorer or BlueScorer(), SquareDetector(), **options)


def test_json_lines_can_be_read_while_they_grow(tmp_path: Path) -> None:
    path = tmp_path / "new" / "frames.jsonl"
    records = open_records(path)
    with score([frame((10, 60, 40, 0.5)), *(frame() for _ in range(2))]) as video:
        for count, result in enumerate(video, 1):
            records.write(result)
            assert len(path.read_text().splitlines()) == count
    records.close()
    first, *rest = map(json.loads, path.read_text().splitlines())
    (face,) = first.pop("faces")
    assert first == {"index": 0, "timestamp": 0.0, "state": "new", "ended": []}
    assert face["score"] == pytest.approx(0.5, abs=0.01)
    assert (face["track"], face["box"], len(face["landmarks"]), face["confidence"]) == (1, [10, 60, 41, 41], 10, 0.9)
    assert [row["faces"] for row in rest] == [[], []]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_rows_say_what_is_wrong(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"frames{suffix}"
    records = open_records(path)
    pictures = [frame((10, 60, 40, 0.25)), frame((12, 60, 40, 0.75)), frame()]
    with score(pictures, BlueScorer(accept=0.5, reasons=True)) as video:
        for result in video:
            records.write(result)
    records.close()
    if suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        parquet = pytest.importorskip("pyarrow.parquet", reason="needs fiqa[report]")
        rows = parquet.read_table(path).to_pylist()
    told = [[(face["quality"], face["accepted"], face["reasons"]) for face in row["faces"]] for row in rows]
    assert told == [[(25, False, ["too_dark"])], [(75, True, [])], []]


def test_parquet_appears_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs fiqa[report]")
    monkeypatch.setattr("sdk.video.writing.records.ROW_GROUP", 4)
    path = tmp_path / "frames.parquet"
    records = open_records(path)
    with score(walk(10), every=2) as video:
        for result in video:
            records.write(result)
    assert not path.exists()
    records.close()
    rows = parquet.read_table(path).to_pylist()
    assert [row["index"] for row in rows] == list(range(10))
    assert [row["faces"][0]["score"] is None for row in rows] == [False, True] * 5
    assert os.listdir(tmp_path) == ["frames.parquet"]


@needs_full
def test_lines_on_a_full_disk() -> None:
    records = JsonRecords(Path("/dev/full"))
    with score(walk(1)) as video, pytest.raises(OutputError, match="No space left on device; make room"):
        records.write(next(video))


def test_video_keeps_time(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    video = VideoFile(path, 10)
    for index, timestamp in enumerate([0, 0.1, 0.2, 0.5, 60]):  # two are missing; and a long silence
        video.write(np.full((90, 160, 3), 40 * index, np.uint8), 5 + timestamp)
    video.write(np.full((180, 320, 3), 200, np.uint8), 65.1)  # another size
    assert not path.exists()
    video.close()
    capture = cv2.VideoCapture(str(path))
    values = []
    while True:
        good, image = capture.read()
        if not good:
            break
        assert image.shape == (90, 160, 3)
        values.append(round(float(image.mean()) / 40))
    assert values == [0, 1, 2, 3, 3, 3, *[4] * 10, 5]
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_a_video_ends_before_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = VideoFile(tmp_path / "out.avi", 25)
    for index in range(25):
        video.write(frame(), index / 25)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(1 << 20))
    with pytest.raises(OutputError, match="less than 32 MiB are free; make room"):
        video.write(frame(), 1.0)
    video.close()
    assert cv2.VideoCapture(str(tmp_path / "out.avi")).get(cv2.CAP_PROP_FRAME_COUNT) == 25


@pytest.mark.parametrize("name", ["out.gif", "out"])
def test_wrong_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="wanted one of"):
        VideoFile(tmp_path / name, 25)
    with pytest.raises(InputError, match="wanted one of"):
        open_records(tmp_path / name)


def test_best_shots_are_files_and_a_line(tmp_path: Path) -> None:
    folder = ShotFolder(tmp_path)
    with score(
        [frame((10 + 4 * i, 60, 40, i / 10)) for i in range(8)],
        BlueScorer(accept=0.45),
        best_shots=BestShots(folder.write, count=2),
    ) as video:
        list(video)
    folder.close()
    early, final = map(json.loads, (tmp_path / "shots.jsonl").read_text().splitlines())
    assert (early["final"], final["final"], final["track"], final["faces"]) == (False, True, 1, 8)
    assert [shot["frame"] for shot in early["shots"]] == [5]
    assert [shot["frame"] for shot in final["shots"]] == [7, 6]
    assert [(shot["quality"], shot["accepted"]) for shot in final["shots"]] == [(70, True), (60, True)]
    assert final["refused"] == {"rejected": 5}
    for shot in [*early["shots"], *final["shots"]]:
        assert cv2.imread(str(tmp_path / shot["crop"])).shape == (112, 112, 3)
        assert cv2.imread(str(tmp_path / shot["picture"])).shape[0] > 60
    assert len(os.listdir(tmp_path)) == 2 * 3 + 1
    again = ShotFolder(tmp_path)
    again.close()
    assert len((tmp_path / "shots.jsonl").read_text().splitlines()) == 2


def test_best_shots_on_a_full_disk_end_the_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ShotFolder(tmp_path)

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with score(walk(5), best_shots=BestShots(folder.write)) as video, pytest.raises(OutputError, match="No space left"):
        list(video)
    folder.close()
    assert (tmp_path / "shots.jsonl").read_text() == ""
    assert os.listdir(tmp_path) == ["shots.jsonl"]


def test_lines_go_on_after_those_of_the_run_before(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    for torn in ("", '{"index": 2, "timest'):
        with path.open("a") as file:
            file.write(torn)
        records = open_records(path)
        with score(walk(2)) as video:
            for result in video:
                records.write(result)
        records.close()
    assert [json.loads(line)["index"] for line in path.read_text().splitlines()] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "content", [b"path,score\na.jpg,1\n", b"\xff\xd8\xff\xe0", b'{"run": "a"}\n', b"\0" * 40, b"{}\n"]
)
def test_what_is_not_ours_is_not_added_to(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "frames.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"frames\.jsonl is there and holds something else; choose another name"):
        open_records(path)
    assert path.read_bytes() == content
    (tmp_path / "shots.jsonl").write_bytes(content.replace(b"run", b"index"))
    with pytest.raises(InputError, match=r"shots\.jsonl is there and holds something else"):
        ShotFolder(tmp_path)


def test_what_would_be_lost_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs fiqa[report]")
    for make, name in ((open_records, "a.parquet"), (lambda path: VideoFile(path, 25), "a.mp4")):
        (tmp_path / name).write_bytes(b"work of hours")
        with pytest.raises(InputError, match="is there and would be lost; choose another name"):
            make(tmp_path / name)
        (tmp_path / f"link{name[1:]}").symlink_to(name)
        with pytest.raises(InputError, match="would be lost"):
            make(tmp_path / f"link{name[1:]}")
        assert (tmp_path / name).read_bytes() == b"work of hours"


def test_one_run_at_a_time(tmp_path: Path) -> None:
    records, folder = open_records(tmp_path / "a.jsonl"), ShotFolder(tmp_path)
    for again in (lambda: open_records(tmp_path / "a.jsonl"), lambda: ShotFolder(tmp_path)):
        with pytest.raises(InputError, match="being written by another run"):
            again()
    records.close()
    folder.close()


def test_runs_of_one_second_and_process_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.strftime", lambda *_: "20000101T000000Z")  # a board without a clock
    for _ in range(3):
        folder = ShotFolder(tmp_path)
        with score(walk(3), best_shots=BestShots(folder.write, count=1)) as video:
            list(video)
        folder.close()
    told = [json.loads(line) for line in (tmp_path / "shots.jsonl").read_text().splitlines()]
    assert len({found["run"] for found in told}) == 3
    assert all((tmp_path / shot["picture"]).is_file() for found in told for shot in found["shots"])


def test_a_video_without_a_frame_is_no_file(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / "out.mp4", 25)
    video.close()
    assert os.listdir(tmp_path) == []


def test_a_video_that_cannot_be_encoded_leaves_nothing(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / "out.mp4", 25)
    with pytest.raises(InputError, match="cannot encode 1 x 1 pixels; try"):
        video.write(np.zeros((1, 1, 3), np.uint8), 0)
    video.close()
    assert os.listdir(tmp_path) == []


def test_a_video_that_was_not_written_whole_leaves_nothing(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / "out.mp4", 25)
    for index in range(5):
        video.write(frame(), index / 25)
    release = video._writer.release
    video._writer = type(
        "Writer", (), {"release": lambda self: (release(), video._draft.path.write_bytes(b"x" * 99))}
    )()
    with pytest.raises(OutputError, match="could not be written whole; make room"):
        video.close()
    assert os.listdir(tmp_path) == []


SHORT = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sys.path.insert(0, {here!r})
from pathlib import Path
from tests.support.squares import frame
from sdk import OutputError
from sdk.video.writing.video_file import VideoFile
video = VideoFile(Path(sys.argv[1]), 25)
for index in range(100):
    video.write(frame(), index / 25)
try:
    video.close()
except OutputError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("name", "message", "kept"),
    [("a.avi", "is cut short: not all of 100 frames", ["a.avi"]), ("a.mp4", "could not be written whole", [])],
)
def test_a_video_that_found_no_room(tmp_path: Path, name: str, message: str, kept: list[str]) -> None:
    script = SHORT.format(here=str(Path(__file__).parents[2]))
    command = [sys.executable, "-c", script, str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert message in done.stdout
    assert os.listdir(tmp_path) == kept
    for left in kept:
        assert cv2.VideoCapture(str(tmp_path / left)).read()[0]


def test_a_table_on_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow", reason="needs fiqa[report]")
    monkeypatch.setattr("sdk.video.writing.records.ROW_GROUP", 1)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    records = open_records(tmp_path / "a.parquet")
    monkeypatch.setattr(type(records._writer), "write_table", full)
    with score(walk(1)) as video, pytest.raises(OutputError, match="No space left"):
        records.write(next(video))
    records.close()
    assert os.listdir(tmp_path) == []


def test_results_to_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    records = open_records(tmp_path / "pipe")
    with score(walk(1)) as video:
        records.write(next(video))
    records.close()
    assert json.loads(os.read(reader, 9999))["index"] == 0
    os.close(reader)
