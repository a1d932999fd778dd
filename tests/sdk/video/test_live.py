"""A camera on the network: lost, frozen, restarted, shared."""

import threading
import time
from collections.abc import Iterator

import pytest

from sdk import InputError, VideoScorer
from sdk.video import FrameResult
from tests.support.mjpeg import MjpegServer
from tests.support.squares import BlueScorer, SquareDetector, frame, walk


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    one = MjpegServer(walk(40, step=5))
    yield one
    one.kill()


def until(video: VideoScorer, wanted: int) -> list[FrameResult]:
    """The next results."""
    return [next(video) for _ in range(wanted)]


def test_a_stream_is_scored(server: MjpegServer) -> None:
    with VideoScorer(server.url, BlueScorer(), SquareDetector()) as video:
        results = until(video, 10)
        assert video.live
        assert video.name == server.url
    assert all(len(result.faces) == 1 for result in results)
    assert results[0].faces[0].score == pytest.approx(0.5, abs=0.05)
    assert results[-1].timestamp > results[0].timestamp


def test_a_server_that_dies_is_found_again(server: MjpegServer) -> None:
    with VideoScorer(server.url, BlueScorer(), SquareDetector()) as video:
        until(video, 5)
        server.kill()
        time.sleep(0.3)
        larger = [frame((20 + 5 * i, 60, 40, 0.5), size=(640, 360)) for i in range(30)]
        again = MjpegServer(larger, port=server.port)
        try:
            back = time.monotonic()
            results = [next(result for result in video if result.image.shape[1] == 640)]
            assert time.monotonic() - back < 5
            results += until(video, 3)
        finally:
            again.kill()
        assert video.counters.reconnects >= 1
        assert {result.image.shape for result in results} == {(360, 640, 3)}
    counters = video.counters
    assert counters.captured == counters.delivered + counters.dropped + counters.corrupt


def test_a_stream_that_freezes_is_opened_again(server: MjpegServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.video.reading.capture.READ_TIMEOUT", 0.5)
    with VideoScorer(server.url, BlueScorer(), SquareDetector()) as video:
        until(video, 3)
        server.frozen = True
        threading.Timer(1.0, setattr, (server, "frozen", False)).start()
        while video.counters.reconnects == 0:
            next(video)
        assert until(video, 3)[-1].faces


def test_close_does_not_wait_for_a_frozen_stream(server: MjpegServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.video.reading.capture.READ_TIMEOUT", 1.0)
    with VideoScorer(server.url, BlueScorer(), SquareDetector()) as video:
        until(video, 3)
        server.frozen = True
        start = time.monotonic()
    assert time.monotonic() - start < 4
    assert all("fiqa-capture" not in thread.name for thread in threading.enumerate())


def test_two_scorers_on_a_camera_that_serves_one() -> None:
    server = MjpegServer(walk(40), clients=1)
    try:
        with VideoScorer(server.url, BlueScorer(), SquareDetector()) as video:
            until(video, 2)
            with pytest.raises(InputError, match="cannot be opened, or gives no frame"):
                VideoScorer(server.url, BlueScorer(), SquareDetector())
            assert until(video, 2)[-1].faces
    finally:
        server.kill()


def test_two_scorers_on_a_camera_that_serves_many(server: MjpegServer) -> None:
    with (
        VideoScorer(server.url, BlueScorer(), SquareDetector()) as one,
        VideoScorer(server.url, BlueScorer(), SquareDetector()) as other,
    ):
        assert len(until(one, 5)) == len(until(other, 5)) == 5


def test_a_page_is_not_a_video(server: MjpegServer) -> None:
    broken = MjpegServer([frame()])
    broken._data = [b"not a picture"]
    try:
        with pytest.raises(InputError, match="gives no frame; see that the address is right"):
            VideoScorer(broken.url, BlueScorer(), SquareDetector())
    finally:
        broken.kill()
