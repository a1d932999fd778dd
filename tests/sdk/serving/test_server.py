"""The service behind a real socket: clients that drip, idle, send too much or leave, and an end under load."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

PHOTO = (Path(__file__).parents[3] / "examples/media/astronaut.jpg").read_bytes()
KEY = "0123456789abcdef"
HEAD = b"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"

Start = Callable[..., tuple["subprocess.Popen[str]", int]]


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server ends the connection."""
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


def score(port: int, body: bytes = PHOTO, key: str = "") -> tuple[int, dict[str, object]]:
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    asked.request("POST", "/v1/score", body, {"X-API-Key": key})
    answer = asked.getresponse()
    return answer.status, json.loads(answer.read())


def counts(port: int) -> set[str]:
    """The lines of /metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        return set(answer.read().decode().splitlines())


def end(process: "subprocess.Popen[str]") -> None:
    """End the service; it says nothing."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_bad_clients_do_not_disturb_others(start: Start) -> None:
    _, port = start("--seconds", "1.5", "--max-bytes", "100000")
    idle = [connect(port) for _ in range(300)]
    drips, leaves, large = connect(port), connect(port), connect(port)
    drips.sendall(HEAD % 1000 + b"x")
    leaves.sendall(HEAD % 1000 + b"x")
    leaves.close()
    large.sendall(HEAD % (65 << 20) + b"x" * 1000)
    begun = time.monotonic()
    assert score(port)[0] == 200
    assert time.monotonic() - begun < 2
    answer = read_all(large)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"type":"urn:fiqa:problem:too-large"' in answer
    answer = read_all(drips)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"type":"urn:fiqa:problem:slow"' in answer
    assert [read_all(one) for one in idle] == [b""] * len(idle)
    assert time.monotonic() - begun < 15
    assert score(port)[0] == 200


def test_no_http(start: Start) -> None:
    _, port = start()
    chunks = b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n"
    for data in (b"\x16\x03\x01 hello\r\n\r\n", chunks):
        asked = connect(port)
        asked.sendall(data)
        answer = read_all(asked)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"application/problem+json" in answer
    assert {'fiqa_requests_total{status="400"} 2.0', 'fiqa_problems_total{kind="bad-request"} 2.0'} < counts(port)


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit of open files")
def test_clients_that_do_not_read_do_not_lock_others_out(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_KEY", KEY)
    _, port = start("--host", "0.0.0.0", files=80)  # 16 connections
    unread = [connect(port) for _ in range(24)]
    for one in unread:
        one.setblocking(False)
        with suppress(BlockingIOError, ConnectionError):
            for _ in range(40):  # some 30 MB of answers
                one.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
    refused = [connect(port) for _ in range(24)]
    for one in refused:
        one.sendall(HEAD % 1000)  # without a key, and the body does not come
    for _ in range(20):
        assert score(port, key=KEY)[0] == 200


def test_requests_that_are_sent_ahead_are_all_answered(start: Start) -> None:
    _, port = start()
    asked, count = connect(port), 100
    body = b"x" * 5000  # half a megabyte together: more than is read ahead
    sent = threading.Thread(target=asked.sendall, args=((HEAD % len(body) + body) * count,))
    sent.start()
    answers = b""
    while answers.count(b"HTTP/1.1 422 ") < count:
        part = asked.recv(65536)
        assert part
        answers += part
    sent.join()
    asked.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert read_all(asked).endswith(b'{"status":"ok"}')


def test_an_end_finishes_what_was_accepted(start: Start) -> None:
    process, port = start()
    with ThreadPoolExecutor(8) as pool:
        wanted = score(port)
        asked = [connect(port) for _ in range(8)]
        for one in asked:
            one.sendall(HEAD % len(PHOTO) + PHOTO)
        time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        answers = list(pool.map(read_all, asked))
    assert process.wait(10) == 0
    bodies = [json.loads(answer.partition(b"\r\n\r\n")[2]) for answer in answers]
    assert bodies == [wanted[1]] * 8


def test_an_end_while_an_abandoned_picture_is_decoded(start: Start) -> None:
    process, port = start("--seconds", "0.2")
    large = cv2.imencode(".png", np.zeros((8000, 8000), np.uint8))[1].tobytes()
    assert score(port, large)[0] == 504
    end(process)


def test_an_end_while_native_code_does_not_return(start: Start) -> None:
    before = (
        "import threading, sdk.serving.work as work\n"
        "work.END_SECONDS, work.load_image = 0.2, lambda *_, **__: threading.Event().wait()"
    )
    process, port = start("--seconds", "0.2", before=before)
    assert score(port)[0] == 504
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert process.stderr is not None
    assert "still takes time after 0.2 s; the service ends" in process.stderr.read()


def test_an_end_with_clients_that_do_not_read(start: Start) -> None:
    process, port = start("--seconds", "0.5")
    unread = connect(port)
    unread.setblocking(False)
    with suppress(BlockingIOError):
        for _ in range(40):
            unread.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
    assert score(port)[0] == 200
    end(process)


def test_a_client_that_leaves_frees_the_queue_and_logs_nothing(start: Start) -> None:
    process, port = start()
    for _ in range(20):
        leaves = connect(port)
        leaves.sendall(HEAD % len(PHOTO) + PHOTO)
        leaves.close()
    wait_for(lambda: {"fiqa_request_seconds_count 20.0", "fiqa_queue 0.0"} < counts(port))
    end(process)


def test_a_kill_under_load_loses_no_answer(start: Start) -> None:
    """Killed and started again while four clients ask: each answer is whole and right, and each request is answered."""
    process, port = start()
    right = score(port)
    answers: list[tuple[int, dict[str, object]]] = []
    tries: list[int] = []
    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            for attempt in range(400):
                try:
                    answers.append(score(port))
                    tries.append(attempt)
                    break
                except (OSError, http.client.HTTPException):  # no answer: ask again, as a client does
                    time.sleep(0.05)
            else:
                raise AssertionError("a request was never answered")

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(ask) for _ in range(4)]
        try:
            wait_for(lambda: len(answers) >= 12)
            process.kill()
            process.wait()
            before = len(answers)
            start("--port", str(port))
            wait_for(lambda: len(answers) >= before + 12)
        finally:
            enough.set()
        for client in clients:
            client.result()
    assert all(answer == right for answer in answers)
    assert max(tries) > 0


def wait_for(done: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_other_machines_need_a_key(start: Start) -> None:
    with pytest.raises(AssertionError, match="can be reached from other machines"):
        start("--host", "0.0.0.0")


def test_a_port_that_is_taken(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match=r"cannot be used: .*choose another --port or --host"):
            start("--port", str(port))
