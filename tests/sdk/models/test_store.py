"""The model store, against a server on this machine."""

import dataclasses
import logging
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from sdk import ModelError
from sdk.models import store
from sdk.models.card import ModelCard
from sdk.models.catalog import CatalogEntry, catalog, find_entry
from tests.support.catalogue import CONTENT, entry, publish

NOWHERE = "http://127.0.0.1:9"  # a port that nothing listens on


class Server:
    """A server of `files`; counts the requests."""

    def __init__(self) -> None:
        self.files = {"/small.onnx": CONTENT}
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(self.path)
                content = outer.files.get(self.path)
                self.send_response(200 if content is not None else 404)
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Start a server with the model `small` of the test's catalogue, and allow the network."""
    running = Server()
    publish(monkeypatch, entry((f"{running.url}/small.onnx",)))
    monkeypatch.delenv("FIQA_OFFLINE")
    monkeypatch.setattr(store, "ATTEMPTS", 1)
    yield running
    running.close()


def test_download_then_cache(server: Server, own_store: Path) -> None:
    assert store.locate_model("small") is None
    path = store.fetch_model("small")
    assert path == own_store / "small.onnx"
    assert path.read_bytes() == CONTENT
    assert store.fetch_model("small") == store.locate_model("small") == path
    assert server.requests == ["/small.onnx"]
    assert [file.name for file in own_store.iterdir()] == ["small.onnx"]


def test_second_address_is_tried(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, entry((f"{NOWHERE}/small.onnx", f"{server.url}/gone", f"{server.url}/small.onnx")))
    assert store.fetch_model("small").read_bytes() == CONTENT
    assert server.requests == ["/gone", "/small.onnx"]


def test_mirror_comes_first(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/mirror/small.onnx"] = CONTENT
    monkeypatch.setenv("FIQA_MIRROR", f"{NOWHERE}/x {server.url}/mirror/")
    store.fetch_model("small")
    assert server.requests == ["/mirror/small.onnx"]


def test_a_failed_address_is_tried_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ATTEMPTS", 2)
    # Not `time.sleep` itself: threads that other tests left behind may call it.
    monkeypatch.setattr(store, "time", SimpleNamespace(sleep=lambda _: server.files.update({"/small.onnx": CONTENT})))
    server.files["/small.onnx"] = CONTENT[:-1]
    assert store.fetch_model("small").read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_wrong_hash_is_not_kept(server: Server, own_store: Path) -> None:
    server.files["/small.onnx"] = CONTENT[:-1] + b"!"
    with pytest.raises(ModelError, match=r"small could not be downloaded.*FIQA_MODELS(?s:.*)hash"):
        store.fetch_model("small")
    assert list(own_store.iterdir()) == []


@pytest.mark.parametrize("where", ["FIQA_CACHE", "FIQA_MODELS"])
def test_wrong_hash_on_disk(where: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(where, str(tmp_path))
    (tmp_path / "small.onnx").write_bytes(b"another file")
    with pytest.raises(ModelError, match=r"small\.onnx has SHA-256 [0-9a-f]{64}, wanted [0-9a-f]{64}"):
        store.fetch_model("small")
    assert server.requests == []


def test_local_directory_comes_first(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.fetch_model("small")
    (tmp_path / "small.onnx").write_bytes(CONTENT)
    monkeypatch.setenv("FIQA_MODELS", str(tmp_path))
    assert store.fetch_model("small") == tmp_path / "small.onnx"


def test_alternative_at_hand_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = entry(("https://example.org/other.onnx",), b"other", "other")
    first = CatalogEntry(ModelCard(name="small"), "small.onnx", "0" * 64, None, other.urls, ("other",))
    publish(monkeypatch, first, other)
    monkeypatch.setenv("FIQA_MODELS", str(tmp_path))
    assert store.locate_model("small") is None
    (tmp_path / "other.onnx").write_bytes(b"other")
    with caplog.at_level(logging.INFO, "sdk"):
        assert store.fetch_model("small") == tmp_path / "other.onnx"
    assert "taking other, the same network" in caplog.text


def test_terms_that_forbid_to_ship_are_said_before_the_download(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bound = dataclasses.replace(
        entry((f"{server.url}/small.onnx",)), card=ModelCard("small", licence="research only"), ship="no",
        ship_reason="Ask its authors.",
    )  # fmt: skip
    publish(monkeypatch, bound)
    said_at = []
    monkeypatch.setattr(store, "_check_hash", lambda *_: said_at.append(caplog.text.count("research only")))
    store.fetch_model("small")
    store.fetch_model("small")
    assert said_at == [1]
    assert [record.getMessage() for record in caplog.records] == ["small: licence: research only. Ask its authors."]


def test_offline(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"FIQA_OFFLINE forbids.*put small\.onnx into a folder"):
        store.fetch_model("small")
    assert server.requests == []


def test_no_network(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, entry((f"{NOWHERE}/small.onnx",)))
    with pytest.raises(ModelError, match=r"check the network(?s:.*)127\.0\.0\.1:9/small\.onnx: .*refused"):
        store.fetch_model("small")


@pytest.mark.parametrize(
    "url", ["http://example.org", "ftp://127.0.0.1", "file:///tmp", "http://127.0.0.1.example.org"]
)
def test_https_only(url: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_MIRROR", url)
    with pytest.raises(ModelError, match="is not HTTPS"):
        store.fetch_model("small")


def test_cache_that_cannot_be_made(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelError, match="cannot be written: Not a directory; set FIQA_CACHE"):
        store.fetch_model("small")


def test_read_only_cache(server: Server, own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_store.mkdir()
    own_store.chmod(0o555)
    if os.access(own_store, os.W_OK):  # root may write anywhere
        monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ModelError, match="cannot be written: Permission denied; set FIQA_CACHE"):
        store.fetch_model("small")
    assert server.requests == []


def test_progress(server: Server) -> None:
    class Bar:
        total = 0
        done = 0
        closed = False

        def update(self, count: int) -> None:
            self.done += count

        def reset(self) -> None:
            self.done = 0

        def close(self) -> None:
            self.closed = True

    bar = Bar()
    store.fetch_model("small", progress=bar)
    assert bar.closed


def test_default_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIQA_CACHE")
    assert store.cache_dir().name == "fiqa"


@pytest.mark.parametrize(
    ("name", "hint"), [("ediffiqa-tt", "ediffiqa-t"), ("Fiqa-Nano", "fiqa-nano"), ("yunett", "yunet")]
)
def test_unknown_model(name: str, hint: str) -> None:
    with pytest.raises(ModelError, match=rf"unknown model '{name}', wanted one of: fiqa-nano, .*did you mean '{hint}'"):
        store.fetch_model(name)


def test_catalogue() -> None:
    assert list(catalog()) == [
        "fiqa-nano",
        "fiqa-detector",
        "fiqa-reasons",
        "ediffiqa-t",
        "ediffiqa-t-yakhyo",
        "ediffiqa-s",
        "ediffiqa-m",
        "ediffiqa-l",
        "yunet",
        "yunet-2026may",
        "mobilefacenet128",
        "w600k_mbf",
        "w600k_r50",
        "cosface_r100",
        "lightqnet",
    ]
    files = [one.file for one in catalog().values()]
    assert len(set(files)) == len(files)
    for name, one in catalog().items():
        assert one.card.name == name
        assert one.card.licence
        assert one.card.summary
        assert len(bytes.fromhex(one.sha256)) == 32
        assert all(url.startswith("https://") and url.endswith(Path(one.file).suffix) for url in one.urls)
        assert all(catalog()[other].card.variant == one.card.variant for other in one.alternatives)


EMBEDDED = {"fiqa-nano": 5_000_000, "fiqa-detector": 600_000, "fiqa-reasons": 500_000}
"""Models of the package, and their largest sizes, bytes."""


def test_only_these_are_embedded() -> None:
    assert [name for name, one in catalog().items() if one.embedded] == list(EMBEDDED)


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_model_is_what_the_catalogue_says(name: str) -> None:
    embedded = find_entry(name).embedded
    assert embedded is not None
    assert store.fetch_model(name) == embedded
    assert embedded.stat().st_size <= EMBEDDED[name]


def test_embedded_model_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, entry(()))
    with pytest.raises(ModelError, match=r"belongs to the package, but .* is missing; install fiqa again"):
        store.fetch_model("small")
