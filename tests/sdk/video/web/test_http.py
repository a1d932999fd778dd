"""The server of the page, by raw bytes: who is answered, and what a stranger's connections cannot do."""

import resource
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import pytest

from sdk import InputError
from sdk.video.web.http import Answer, Server
from sdk.video.web.listening import most_connections
from sdk.video.web.requests import HEAD_BYTES


def answer(path: str) -> Answer:
    if path == "/broken":
        raise KeyError("a bug")
    return Answer(200 if path == "/" else 404, "text/plain", b"hello")


def serve(host: str = "127.0.0.1") -> Server:
    server = Server(answer, {"X-Own": "1"}, host, 0)
    server.start()
    return server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    one = serve()
    yield one
    one.close()


def connect(server: Server) -> socket.socket:
    host, _, port = server.address.removeprefix("http://").rstrip("/").rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=20)


def send(server: Server, request: str | bytes) -> bytes:
    """All that comes back."""
    port = server.address.rstrip("/").rpartition(":")[2]
    data = request.replace("PORT", port).encode("latin-1") if isinstance(request, str) else request
    with connect(server) as connection:
        connection.sendall(data)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def get(server: Server, *headers: str, request: str = "GET / HTTP/1.1") -> int:
    """The status."""
    return int(send(server, "\r\n".join([request, *headers, "", ""])).split()[1])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("LOCALHOST:PORT", 200), ("localhost.:PORT", 200), ("127.0.0.1", 200), ("127.3.2.1:9", 200),
        ("[::1]:PORT", 200), ("evil.example", 403), ("localhost.evil.example", 403), ("127.0.0.1.evil.example", 403),
        ("10.1.2.3", 403), ("[2001:db8::1]", 403), ("", 400), ("me@localhost", 400), ("localhost/x", 400),
        ("localhost:80:80", 400), ("[::1", 400), ("local host", 400),
    ],
)  # fmt: skip
def test_names_that_are_answered(server: Server, host: str, status: int) -> None:
    assert get(server, f"Host: {host}") == status
    if status != 400:
        assert get(server, "Host: localhost", request=f"GET http://{host}/ HTTP/1.1") == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["Origin: http://localhost:PORT"], 200), (["Origin: HTTP://LocalHost:PORT"], 200),
        (["Origin: null"], 403), (["Origin: http://evil.example"], 403), (["Origin: http://localhost:1"], 403),
        (["Origin: http://127.0.0.1:PORT"], 403), (["Origin: file://"], 403), (["Origin: http://"], 400),
        (["Origin: http://localhost:PORT", "origin: http://localhost:PORT"], 400),
        (["Sec-Fetch-Site: same-origin"], 200), (["Sec-Fetch-Site: none"], 200), (["Sec-Fetch-Site: cross-site"], 403),
        (["Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"], 403),
        (["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"], 403),
        (["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"], 200),
    ],
)  # fmt: skip
def test_other_sites_are_refused(server: Server, headers: list[str], status: int) -> None:
    assert get(server, "Host: localhost:PORT", *headers) == status


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("GET / HTTP/1.0\r\n\r\n", 200),  # no Host: no browser asks so
        ("GET /?a=b HTTP/1.0\n\n", 200),
        ("GET / HTTP/1.0\r\nOrigin: http://localhost\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\n folded: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 400),
        ("GET /\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("\x16\x03\x01\x02\0\x01\0\r\n\r\n", 400),  # TLS
        ("get / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", 405),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("GET //localhost HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET /%2e%2e/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET https://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET /broken HTTP/1.1\r\nHost: localhost\r\n\r\n", 500),
        ("GET /" + "x" * 2 * HEAD_BYTES, 431),
        ("GET / HTTP/1.1\r\n" + "X: y\r\n" * HEAD_BYTES, 431),
    ],
)
def test_odd_requests(server: Server, request_: str, status: int) -> None:
    reply = send(server, request_)
    assert int(reply.split()[1]) == status
    assert b"\r\nX-Own: 1\r\n" in reply
    assert b"\r\nConnection: close\r\n" in reply


def test_head_is_get_without_its_body(server: Server) -> None:
    head, _, body = send(server, "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").partition(b"\r\n\r\n")
    assert (head.split()[1], body) == (b"200", b"")
    assert b"\r\nContent-Length: 5" in head


@pytest.mark.parametrize("host", ["127.0.0.5", "localhost", "::1", "0.0.0.0", "::", socket.gethostname(), "127.1"])
def test_the_address_that_is_shown_answers(host: str) -> None:
    try:
        server = serve(host)
    except InputError as error:
        pytest.skip(f"this machine has no such address: {error}")
    try:
        place = server.address.removeprefix("http://").rstrip("/")
        assert "0.0.0.0" not in place
        assert "[::]" not in place
        assert get(server, f"Host: {place}") == 200
        assert get(server, f"Host: {host if ':' not in host else f'[{host}]'}:PORT") == 200
        assert get(server, "Host: evil.example") == 403
    finally:
        server.close()


def test_beyond_this_machine_addresses_and_its_own_name_are_answered() -> None:
    server = serve("0.0.0.0")
    try:
        assert [get(server, f"Host: {host}") for host in ("192.0.2.7:80", "[2001:db8::1]", socket.gethostname())] == [
            200, 200, 200
        ]  # fmt: skip
    finally:
        server.close()


@pytest.mark.parametrize("host", ["", "no.such.host.invalid", "a" * 70, "192.0.2.1", "127.0.0.1\0"])
def test_hosts_that_cannot_be_had(host: str) -> None:
    with pytest.raises(InputError, match=r"cannot be used: .*; choose another --serve or --host"):
        Server(answer, {}, host, 0)


@pytest.mark.parametrize("port", [-1, 65536, 10**30])
def test_ports_that_cannot_be(port: int) -> None:
    with pytest.raises(InputError, match="a port from 0 to 65535"):
        Server(answer, {}, "127.0.0.1", port)


def test_a_head_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.video.web.http.HEAD_SECONDS", 0.6)
    server = serve()
    try:
        with connect(server) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nX: ")
            start = time.monotonic()
            threading.Thread(target=_drip, args=(connection,), daemon=True).start()
            assert connection.recv(100).split()[1] == b"408"
            assert time.monotonic() - start < 5
        assert get(server, "Host: localhost") == 200
    finally:
        server.close()


def _drip(connection: socket.socket) -> None:
    try:
        while True:
            connection.send(b"a")
            time.sleep(0.1)
    except OSError:
        return


def test_who_waits_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.video.web.http.most_connections", lambda: 3)
    server = serve()
    try:
        idle = []
        for _ in range(5):
            idle.append(connect(server))
            time.sleep(0.05)
        assert get(server, "Host: localhost") == 200
        for gone in idle[:2]:
            assert gone.recv(1) == b""
        assert len(server._connections) <= 3
        for one in idle:
            one.close()
        assert threading.active_count() < 10
    finally:
        server.close()
    server.close()


def test_a_burst_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.video.web.http.most_connections", lambda: 2)
    server = Server(answer, {}, "127.0.0.1", 0)
    burst = [connect(server) for _ in range(12)]  # all of them wait when it begins
    server.start()
    try:
        for gone in burst[:10]:
            assert gone.recv(1) == b""
        assert len(server._connections) <= 2
        assert get(server, "Host: localhost") == 200
        for one in burst:
            one.close()
    finally:
        server.close()


def test_a_viewer_who_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.video.web.http.TAKE_SECONDS", 0.5)
    large = Server(lambda path: Answer(200, "text/plain", bytes(64 << 20)), {}, "127.0.0.1", 0)
    large.start()
    try:
        with connect(large) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            end = time.monotonic() + 20
            time.sleep(0.2)
            while large._connections and time.monotonic() < end:
                time.sleep(0.05)
            assert not large._connections
    finally:
        large.close()


def test_few_files_mean_few_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, most in ((100_000, 64), (resource.RLIM_INFINITY, 64), (1, 1)):
        monkeypatch.setattr(resource, "getrlimit", lambda kind, limit=limit: (limit, limit))
        assert most_connections() == most


FLOOD = """
    import resource, socket, sys, threading, time
    resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))
    from sdk.video.web.http import Answer, Server
    server = Server(lambda path: Answer(200, "text/plain", b"hello"), {}, "127.0.0.1", 0)
    server.start()
    print(server.address, flush=True)
    end = time.monotonic() + 60
    for line in sys.stdin:  # once in a while: open files as the recorder does
        print("ok" if len([open("/dev/null") for _ in range(10)]) == 10 else "no", flush=True)
    print(time.process_time(), flush=True)
    server.close()
"""


def test_a_flood_takes_neither_files_nor_time() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(FLOOD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    connections: list[socket.socket] = []
    try:
        port = int(process.stdout.readline().rstrip("/\n").rpartition(":")[2])
        for count in range(300):
            try:
                connections.append(socket.create_connection(("127.0.0.1", port), timeout=2))
            except OSError:
                continue
            if count % 100 == 99:
                process.stdin.write("files\n")
                process.stdin.flush()
                assert process.stdout.readline() == "ok\n"
        process.stdin.close()
        assert float(process.stdout.readline()) < 10
        assert process.wait(20) == 0
    finally:
        process.kill()
        for one in connections:
            one.close()
