"""Downloads that are too large, too slow or lead to an unsafe address are stopped, and nothing of them is kept."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sdk import ModelError
from sdk.models import download, store
from tests.support.catalogue import CONTENT, entry, publish

Answer = Callable[[BaseHTTPRequestHandler], None]


class Mirror:
    """A server with a given answer to every request; counts the bytes that it sends."""

    def __init__(self) -> None:
        self.answer: Answer = whole
        self.sent = 0
        self.asked: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append({"path": self.path, **dict(self.headers)})
                with suppress(OSError):
                    outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    running = Mirror()
    publish(monkeypatch, entry((f"{running.url}/small.onnx",)))
    monkeypatch.delenv("FIQA_OFFLINE")
    monkeypatch.setattr(store, "ATTEMPTS", 1)
    yield running
    running.close()


def headers(handler: BaseHTTPRequestHandler, code: int = 200, **more: str) -> None:
    handler.send_response(code)
    for name, value in more.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def whole(handler: BaseHTTPRequestHandler) -> None:
    headers(handler)
    handler.wfile.write(CONTENT)


def too_short(handler: BaseHTTPRequestHandler) -> None:
    headers(handler, Content_Length=str(len(CONTENT)))
    handler.wfile.write(CONTENT[:100])


def too_long(handler: BaseHTTPRequestHandler) -> None:
    headers(handler)
    handler.wfile.write(CONTENT + b"!")


def says_too_much(handler: BaseHTTPRequestHandler) -> None:
    headers(handler, Content_Length=str(10**15))


def endless(handler: BaseHTTPRequestHandler) -> None:
    headers(handler)
    while True:
        handler.wfile.write(bytes(1 << 16))


def other(handler: BaseHTTPRequestHandler) -> None:
    headers(handler)
    handler.wfile.write(CONTENT[::-1])


def a_page(handler: BaseHTTPRequestHandler) -> None:
    headers(handler, 404, Content_Type="text/html")
    handler.wfile.write(b"<html>not here</html>")


def no_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\0\1\2 rubbish\r\n\r\n")


def lead_to(url: str) -> Answer:
    return lambda handler: headers(handler, 302, Location=url)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (too_short, "SHA-256 hash .*100 bytes"),
        (too_long, "sends more than 15,000 bytes"),
        (says_too_much, "says that it sends 1,000,000,000,000,000 bytes"),
        (endless, "sends more than 15,000 bytes"),
        (other, "SHA-256 hash"),
        (a_page, "404"),
        (no_http, "rubbish"),
        (lead_to("http://192.0.2.1/small.onnx"), "leads to http://192.0.2.1/small.onnx, which is not HTTPS"),
        (lead_to("file:///etc/passwd"), "file:///etc/passwd"),
        (lead_to("ftp://127.0.0.1/x"), "leads to ftp://127.0.0.1/x"),
    ],
)
def test_nothing_is_kept_of_what_is_wrong(answer: Answer, words: str, mirror: Mirror, own_store: Path) -> None:
    mirror.answer = answer
    with pytest.raises(ModelError, match=rf"could not be downloaded(?s:.*){words}"):
        store.fetch_model("small")
    assert list(own_store.iterdir()) == []


def drip(handler: BaseHTTPRequestHandler) -> None:
    headers(handler)
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.05)


def drip_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.05)


def silent(handler: BaseHTTPRequestHandler) -> None:
    headers(handler)
    time.sleep(60)


@pytest.mark.parametrize("answer", [drip, drip_headers, silent])
def test_a_stall_ends_it(answer: Answer, mirror: Mirror, own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    mirror.answer = answer
    with pytest.raises(ModelError, match=r"too slow|timed out"):
        store.fetch_model("small")
    assert list(own_store.iterdir()) == []


def test_from_https_to_http_is_refused_even_on_this_machine() -> None:
    handler, request = download._Redirects(), download._request("https://example.org/a")
    with pytest.raises(OSError, match="leads to http://127"):
        handler.redirect_request(request, None, 302, "Found", {}, "http://127.0.0.1/a")
    assert handler.redirect_request(request, None, 302, "Found", {}, "https://example.com/a") is not None


def test_a_redirect_on_this_machine_is_followed(mirror: Mirror, own_store: Path) -> None:
    mirror.answer = lambda handler: whole(handler) if handler.path == "/b" else headers(handler, 302, Location="/b")
    assert store.fetch_model("small") == own_store / "small.onnx"
    assert (own_store / "small.onnx").stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    "value",
    ["example.org", "file:///tmp", "https://", "https://[::1", "http://127.0.0.1.org", "https://a:b", "javascript:1"],
)
def test_mirrors_that_are_none(value: str, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_MIRROR", value)
    with pytest.raises(ModelError, match=r"is not HTTPS.*correct FIQA_MIRROR"):
        store.fetch_model("small")
    assert mirror.asked == []


def test_a_password_is_sent_and_not_shown(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mirror.answer = a_page
    monkeypatch.setenv("FIQA_MIRROR", mirror.url.replace("//", "//ann:s%40cret@"))
    with caplog.at_level("DEBUG", "sdk"), pytest.raises(ModelError) as error:
        store.fetch_model("small")
    assert mirror.asked[0]["Authorization"] == "Basic YW5uOnNAY3JldA=="
    assert "Authorization" not in mirror.asked[1]
    assert "cret" not in f"{error.value}{caplog.text}"


def test_two_at_once(mirror: Mirror, own_store: Path) -> None:
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(store.fetch_model("small"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [own_store / "small.onnx"] * 4
    assert [file.name for file in own_store.iterdir()] == ["small.onnx"]


def test_without_a_home_folder(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise FileNotFoundError(2, "there is no home folder; set FIQA_CACHE")

    monkeypatch.setattr(store, "cache_dir", nowhere)
    assert store.find_model("small") is None
    with pytest.raises(ModelError, match="no home folder"):
        store.fetch_model("small")
