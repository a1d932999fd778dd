"""Where frames come from."""

import logging
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from sdk.errors import DeviceError, InputError
from sdk.video import open_source
from sdk.video.reading.address import without_secrets
from sdk.video.reading.capture import Capture
from sdk.video.reading.jetson import jetson_pipeline
from tests.support.squares import frame, walk


def write_video(path: Path, frames: list[np.ndarray], fps: float = 10) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, frames[0].shape[1::-1])
    for one in frames:
        writer.write(one)
    writer.release()
    return path


def test_file(tmp_path: Path) -> None:
    source = open_source(write_video(tmp_path / "a.avi", walk(5)))
    assert (source.live, source.fps, source.name) == (False, 10, str(tmp_path / "a.avi"))
    found = list(source.frames())
    assert [timestamp for timestamp, _ in found] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert {image.shape for _, image in found if image is not None} == {(180, 320, 3)}


def test_folder_in_order_with_a_damaged_image(tmp_path: Path) -> None:
    for number in (2, 10, 1):
        cv2.imwrite(str(tmp_path / f"{number:03}.png"), np.full((20, 20, 3), number, np.uint8))
    (tmp_path / "003.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("not a frame")
    found = list(open_source(tmp_path).frames())
    assert [None if image is None else int(image[0, 0, 0]) for _, image in found] == [1, 2, None, 10]
    assert [timestamp for timestamp, _ in found] == [0, 0.04, 0.08, 0.12]


def test_iterables() -> None:
    pictures = walk(3)
    assert [timestamp for timestamp, _ in open_source(pictures).frames()] == [0, 0.04, 0.08]
    live = open_source(iter([*pictures, None]), live=True)
    assert live.live
    assert [(timestamp, image is None) for timestamp, image in live.frames()] == [(None, False)] * 3 + [(None, True)]
    assert open_source(live) is live
    with pytest.raises(InputError, match="is a float, wanted the index of a camera"):
        open_source(1.5)


def test_what_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.mp4 does not exist; give a video file"):
        open_source(tmp_path / "nothing.mp4")
    with pytest.raises(InputError, match="holds no image"):
        open_source(tmp_path)
    with pytest.raises(InputError, match=r"http://\*\*\*@127.0.0.1:9/ cannot be opened, or gives no frame"):
        open_source("http://name:secret@127.0.0.1:9/")
    for camera in (77, "77"):
        with pytest.raises(
            InputError, match="camera 77 cannot be opened, or gives no frame; see that it is plugged in"
        ):
            open_source(camera)


@pytest.mark.parametrize("content", [b"", b"this is no video\0" * 100, b"RIFF\x00\x00\x00\x00AVI LIST"])
def test_not_a_video(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be opened, or gives no frame; see that it is a video that is whole"):
        open_source(path)


def test_a_file_cut_short_is_read_as_far_as_it_goes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "a.avi", walk(40))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with caplog.at_level(logging.WARNING):
        count = sum(1 for _ in open_source(path).frames())
    assert 10 < count < 30
    assert f"ended after {count} of 40 frames; it is damaged or cut short" in caplog.text


class FakeCamera:
    """Stands in for `cv2.VideoCapture`: gives as many frames as `plan` says at each opening, then fails."""

    plan: list[int]

    def __init__(self, target: int, backend: int, parameters: list[int]) -> None:
        self.left = self.plan.pop(0) if self.plan else 0

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (True, frame()) if self.left >= 0 else (False, None)

    def get(self, what: int) -> float:
        return 30.0

    def release(self) -> None:
        pass


def test_camera_is_opened_once_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    monkeypatch.setattr(FakeCamera, "plan", [3, 0, 2], raising=False)
    monkeypatch.setattr("sdk.video.reading.capture.BACK_OFF", (0.01,))
    source = open_source(3)
    with pytest.raises(InputError, match="camera 3 is in use by another VideoScorer"):
        open_source("3")
    count = 0
    for timestamp, image in source.frames():
        assert timestamp is None
        assert image is not None
        count += 1
        if count == 5:
            source.close()
    assert (count, source.reconnects, source.fps) == (5, 1, 30)
    monkeypatch.setattr(FakeCamera, "plan", [1], raising=False)
    open_source(3).close()  # free again
    with pytest.raises(InputError, match="camera 3 cannot be opened"):
        open_source(3)  # no frame: and free after that, too
    monkeypatch.setattr(FakeCamera, "plan", [1], raising=False)
    open_source(3).close()


def test_what_waited_since_it_was_opened_is_not_taken_for_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    plan = [5, 2]
    monkeypatch.setattr(FakeCamera, "plan", plan, raising=False)
    monkeypatch.setattr("sdk.video.reading.capture.TOO_OLD", -1)
    source = Capture.stream("rtsp://somewhere/")
    assert next(source.frames())[1] is not None
    assert (plan, source.reconnects) == ([], 0)  # opened a second time
    source.close()


@pytest.mark.skipif(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER), reason="this OpenCV has GStreamer")
@pytest.mark.parametrize("text", ["videotestsrc ! appsink", "csi:0", "usb:1@640x480", "nvdec:rtsp://host/a"])
def test_pipelines_need_gstreamer(text: str) -> None:
    with pytest.raises(DeviceError, match="built without GStreamer"):
        open_source(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("csi:0", ["nvarguscamerasrc sensor-id=0", "width=1920, height=1080, framerate=30/1", "max-buffers=1"]),
        ("csi:1@1280x720@60", ["sensor-id=1", "width=1280, height=720, framerate=60/1"]),
        ("usb:2@640x480", ["v4l2src device=/dev/video2", "image/jpeg, width=640, height=480, framerate=30/1"]),
        ("nvdec:rtsp://u:p@host/s", ['rtspsrc location="rtsp://u:p@host/s"', "nvv4l2decoder"]),
    ],
)
def test_jetson_presets(text: str, parts: list[str]) -> None:
    pipeline = jetson_pipeline(text)
    assert pipeline is not None
    assert all(part in pipeline for part in parts)
    assert pipeline.endswith("appsink drop=true max-buffers=1 sync=false")


@pytest.mark.parametrize("text", ["csi:", "csi:0@wide", "usb:a", "nvdec:file.mp4", 'nvdec:rtsp://a" ! filesink'])
def test_wrong_presets(text: str) -> None:
    with pytest.raises(InputError, match="wanted"):
        jetson_pipeline(text)


def test_what_is_no_preset() -> None:
    assert [jetson_pipeline(text) for text in ("0", "clip.mp4", "rtsp://host/", "C:/clip.mp4")] == [None] * 4


@pytest.mark.parametrize(
    "name",
    [
        "07:30:59.avi", "gate:2.avi", "file:a.avi", "take%d.avi", "50%.avi", "left ! right.avi", "7", "-a.avi",
        "a b.avi", "csi:0", "nvdec:a.avi", "kl\u00e4ng \u4e2d.avi", "back\\slash.avi", "pipe:0", "data:x.avi",
        "concat:a|b.avi", "a?b#c.avi", "u:p@host.avi",
    ],
)  # fmt: skip
def test_a_file_that_is_there_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "plain.avi", walk(3)).rename(name)
    for given in (name, str(tmp_path / name), Path(name)):
        source = open_source(given)
        assert (source.name, source.live, len(list(source.frames()))) == (str(given), False, 3)


def test_a_file_by_a_scheme_like_name_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:" / "host").mkdir(parents=True)
    write_video(tmp_path / "http:" / "host" / "a.avi", walk(3))
    assert len(list(open_source("http://host/a.avi").frames())) == 3


@pytest.mark.parametrize("form", ["file:{}", "file://{}", "FILE://localhost{}", "file:///{}"])
def test_file_urls(tmp_path: Path, form: str) -> None:
    path = write_video(tmp_path / "a b.avi", walk(2))
    for text in (str(path), str(path).replace(" ", "%20")):
        assert len(list(open_source(form.format(text)).frames())) == 2
    with pytest.raises(InputError, match="No such file"):
        open_source("file:nothing.avi")


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "ffconcat version 1.0\nfile ok.avi\n", "v=0\nm=video 5004 RTP/AVP 26\n",
        "<?xml version='1.0'?><MPD/>", "letters that FFmpeg would draw\n" * 50, "\u00e9\u00e9" * 400,
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".m3u8", ".txt", ".mp4"])
def test_texts_are_no_videos(tmp_path: Path, content: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="is a text, wanted a video"):
        open_source(path)


def test_special_files_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "broken.mp4").symlink_to("nowhere.mp4")
    for path in (tmp_path / "pipe.mp4", "/dev/zero", "/dev/null"):
        with pytest.raises(InputError, match="is a pipe or a device"):
            open_source(path)
    with pytest.raises(InputError, match="cannot be opened: No such file"):
        open_source(tmp_path / "broken.mp4")


def test_frames_are_counted_as_people_do_and_no_pipe_is_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2, 9, 10, 100):
        cv2.imwrite(str(tmp_path / f"f{number}.png"), np.full((20, 20, 3), number, np.uint8))
    os.mkfifo(tmp_path / "f3.png")
    (tmp_path / "f4.png").mkdir()
    (tmp_path / "f5.png").symlink_to("nowhere")
    (tmp_path / "f11.png").symlink_to("f9.png")
    with caplog.at_level(logging.WARNING):
        found = list(open_source(tmp_path).frames())
    assert [int(image[0, 0, 0]) for _, image in found if image is not None] == [1, 2, 9, 10, 9, 100]
    assert "3 left out that are no files, such as f3.png" in caplog.text


def test_one_image_is_one_frame(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a%d.png"), np.full((30, 20, 3), 7, np.uint8))
    ((timestamp, image),) = open_source(tmp_path / "a%d.png").frames()
    assert (timestamp, image.shape) == (0, (30, 20, 3))


def test_frames_that_are_huge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.video.reading.capture.MAX_PIXELS", 320 * 180 - 1)
    with pytest.raises(InputError, match="its frames are 320 x 180, wanted at most 57,599 pixels; make it smaller"):
        open_source(write_video(tmp_path / "a.avi", walk(3)))


@pytest.mark.parametrize("index", [-1, 1000, "99999", np.int64(-3)])
def test_cameras_that_cannot_be(index: int | str) -> None:
    with pytest.raises(InputError, match="wanted an index from 0 to 999"):
        open_source(index)


@pytest.mark.parametrize(
    "text", ["", "concat:a|b", "subfile,,start,0,,:///etc/passwd", "file-like://x", "a\0b", "\ud800"]
)
def test_texts_that_name_nothing(text: str) -> None:
    with pytest.raises(InputError):
        open_source(text)


def test_true_is_no_camera() -> None:
    with pytest.raises(InputError, match="is a bool"):
        open_source(True)


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://host:554/a", "rtsp://host:554/a"),
        (f"rtsp://me:{SECRET}@host:554/a", "rtsp://***@host:554/a"),
        (f"RTSP://me:p@{SECRET}/x?y@[fe80::1]:554/a", "RTSP://***@[fe80::1]:554/a"),
        (f"http://host/a?token={SECRET}&b=1", "http://host/a?***"),
        (f"http://host/a#{SECRET}", "http://host/a#***"),
        (f"rtsp://host/user=admin&password={SECRET}&channel=1", "rtsp://host/user=***&password=***&channel=1"),
        (f"rtsp:/me:{SECRET}@host/a", "***@host/a"),
        (f"me%40:{SECRET}@host/a", "***@host/a"),
        (f'rtspsrc user-id=me user-pw="a {SECRET}" proxy-pw={SECRET}', "rtspsrc user-id=*** user-pw=*** proxy-pw=***"),
        ("12:00:00.mp4", "12:00:00.mp4"),
        ("rtsp://[bad", "rtsp://[bad"),
    ],
)
def test_no_secret_is_shown(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        f"rtsp://u:{SECRET}@127.0.0.1:9/a", f"HTTP://u:{SECRET}@127.0.0.1:9/", f"rtsp://u:{SECRET}@[bad",
        f"http://127.0.0.1:9/a?sig={SECRET}", f"rtmp://u:{SECRET}@127.0.0.1:9/a b", f"nvdec:rtsp://u:{SECRET}@a b",
        f"nvdec:http://u:{SECRET}@h/", f"rtspsrc location=rtsp://u:{SECRET}@h user-pw={SECRET} ! appsink",
        f"u:{SECRET}@host", f"xyz://u:{SECRET}@host",
    ],
)  # fmt: skip
def test_no_secret_is_in_an_error(text: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises((InputError, DeviceError)) as caught:
        open_source(text)
    assert SECRET not in str(caught.value) + caplog.text
