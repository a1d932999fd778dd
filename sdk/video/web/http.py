"""A server for one page: a handful of addresses, few viewers, and nothing that a stranger's connection can use up.

One thread serves all connections (asyncio), so that none takes a thread. A connection carries one request. Its head has
a size and a time in which it is whole; an answer has a time in which it is taken. Beyond the most connections the one
that has waited longest without a request makes room.
"""

import asyncio
import logging
import os
import re
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from sdk.errors import InputError

log = logging.getLogger(__name__)

CONNECTIONS = 64
"""Most connections at once; fewer where few files may be open."""

HEAD_SECONDS, HEAD_BYTES = 5.0, 16384
"""A request's head is whole within such a time and size."""

TAKE_SECONDS = 10.0
"""An answer, or a part of one that never ends, is taken in this time."""

BACKLOG = 128
"""Connections that wait to be taken; they are the system's, and take no file of this process."""

PAUSE = 0.5
"""Seconds until the next connection is taken when the system gives none, because too many files are open."""

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_REQUEST = re.compile(r"([A-Z]+) ([\x21-\x7e]+) HTTP/1\.([01])")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::([0-9]{0,5}))?")
_REASONS = {
    200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    408: "Request Timeout", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
    503: "Service Unavailable",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent.

    Attributes:
        status: 200 and so on.
        kind: Content type.
        body: All of it; or pieces, until they end or the viewer leaves.
        headers: Further ones.
    """

    status: int
    kind: str
    body: bytes | AsyncGenerator[bytes, None]
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):  # noqa: N818 - an answer, not an error
    """A request that is answered with an error."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    waiting: bool = True  # for the head of a request
    task: "asyncio.Task[None] | None" = None


class Server:
    """Serves in a thread of its own, from `start` to `close`.

    Args:
        answer: Gives the answer for a path without its query; called in the server's thread.
        headers: Sent with every answer.
        host: Address or name of this machine.
        port: 0 for any that is free.

    Raises:
        InputError: Host and port cannot be had.
    """

    def __init__(self, answer: Callable[[str], Answer], headers: Mapping[str, str], host: str, port: int) -> None:
        self._answer, self._headers = answer, headers
        self._listener = _listen(host, port)
        bound = ip_address(self._listener.getsockname()[0].partition("%")[0])
        self._names = {"localhost", *(name.lower().rstrip(".") for name in (host, *_own_names(bound)))}
        self._local = _is_loopback(bound)
        self.address = _address(self._listener)
        self.most = _most_connections()
        self._connections: list[_Connection] = []
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="fiqa-page", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving; closing twice is harmless."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except Exception:
            log.exception("the page is not served any more; the stream goes on")
        finally:
            self._listener.close()
            self._loop.close()

    async def _serve(self) -> None:
        accepting = asyncio.ensure_future(self._accept())
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((accepting, stopping), return_when=asyncio.FIRST_COMPLETED)
        tasks = [accepting, stopping, *(one.task for one in self._connections if one.task is not None)]
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]

    async def _accept(self) -> None:
        self._listener.setblocking(False)
        while True:
            try:
                accepted = (await self._loop.sock_accept(self._listener))[0]
            except OSError as error:  # no file handle is left, or the client has gone
                log.debug("no connection: %s", error)
                await asyncio.sleep(PAUSE)
                continue
            if len(self._connections) >= self.most and not await self._make_room():
                accepted.close()
                continue
            connection = _Connection(accepted)
            self._connections.append(connection)
            connection.task = self._loop.create_task(self._handle(connection))
            await asyncio.sleep(0)  # let it begin: a task that is cancelled before would not clean up

    async def _make_room(self) -> bool:
        """Let go of the connection that has waited longest without a request, if there is one."""
        oldest = next((one for one in self._connections if one.waiting and one.task is not None), None)
        if oldest is None or oldest.task is None:
            return False
        oldest.task.cancel()
        await asyncio.wait((oldest.task,))
        return True

    async def _handle(self, connection: _Connection) -> None:
        writer = None
        try:
            reader, writer = await asyncio.open_connection(sock=connection.socket, limit=HEAD_BYTES)
            writer.transport.set_write_buffer_limits(0)
            await self._converse(connection, reader, writer)
        except (OSError, EOFError, asyncio.TimeoutError) as error:
            log.debug("a viewer left, or was let go: %r", error)
        except Exception:
            log.exception("a request of the page failed; the stream goes on")
        finally:
            self._connections.remove(connection)
            if writer is None:
                connection.socket.close()
            else:
                writer.transport.abort()

    async def _converse(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with_body = True
        try:
            head = await asyncio.wait_for(_read_head(reader), HEAD_SECONDS)
            connection.waiting = False
            method, path = self._check(head)
            with_body = method == "GET"
            answer = self._answer(path)
        except (Refused, asyncio.TimeoutError) as error:
            connection.waiting = False
            status = error.status if isinstance(error, Refused) else 408
            allow = {"Allow": "GET, HEAD"} if status == 405 else {}
            answer = Answer(status, "text/plain", f"{str(error) or 'no request came'}\n".encode(), allow)
        except Exception:
            log.exception("a request of the page failed; the stream goes on")
            answer = Answer(500, "text/plain", b"this failed; the log says why\n")
        await self._send(writer, answer, with_body)
        writer.write_eof()
        connection.waiting = True  # what the client still sends is read, or it might lose the answer
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_drain_rest(reader), 1)

    async def _send(self, writer: asyncio.StreamWriter, answer: Answer, with_body: bool) -> None:
        whole = answer.body if isinstance(answer.body, bytes) else None
        headers = {**self._headers, **answer.headers, "Content-Type": answer.kind, "Connection": "close"}
        if whole is not None:
            headers["Content-Length"] = str(len(whole))
        lines = [f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}", *(f"{a}: {b}" for a, b in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + (whole or b"" if with_body else b""))
        await asyncio.wait_for(writer.drain(), TAKE_SECONDS)
        if not isinstance(answer.body, bytes) and with_body:
            async with aclosing(answer.body) as pieces:
                async for piece in pieces:
                    writer.write(piece)
                    await asyncio.wait_for(writer.drain(), TAKE_SECONDS)

    def _check(self, head: bytes) -> tuple[str, str]:
        """Method and path of a request that may be answered.

        Raises:
            Refused: It may not.
        """
        first, *lines = re.split(r"\r?\n", head.decode("latin-1"))
        request = _REQUEST.fullmatch(first)
        if request is None:
            raise Refused(400, "this is no HTTP/1.1 request")
        headers: dict[str, str] = {}
        for line in lines:
            header = _HEADER.fullmatch(line)
            if header is None:
                raise Refused(400, "a header is damaged")
            name = header[1].lower()
            if name in headers and name in ("host", "origin"):
                raise Refused(400, f"two headers are called {name}")
            headers[name] = header[2].strip()
        method, target, minor = request.groups()
        if "host" not in headers and minor == "1":
            raise Refused(400, "the Host header is missing")
        if method not in ("GET", "HEAD"):
            raise Refused(405, "only GET and HEAD are answered")
        authority, path = re.fullmatch(r"(?:(?i:http)://([^/?#]*))?(.*)", target, re.DOTALL).groups()  # type: ignore[union-attr]
        self._check_place([one for one in (headers.get("host"), authority) if one is not None])
        _check_sender(headers)
        return method, path.partition("?")[0]

    def _check_place(self, authorities: list[str]) -> None:
        """Refuse a request for another name: a browser may have been led here by a name that changed its address.

        An IP address cannot be changed so. A page of this machine alone is asked for by an address of this machine.
        """
        for authority in authorities:
            host = _parse_authority(authority)[0]
            try:
                known = _is_loopback(ip_address(host)) or not self._local
            except ValueError:
                known = host in self._names
            if not known:
                raise Refused(403, f"ask for {self.address}")


def _check_sender(headers: Mapping[str, str]) -> None:
    """Refuse what another site's page asks for; following a link from there is no such thing."""
    origin = headers.get("origin")
    if origin is not None:
        scheme, separator, authority = origin.partition("://")
        default = {"http": "80", "https": "443"}.get(scheme.lower())
        if not separator or default is None:
            raise Refused(403, "this comes from another site")
        if _parse_authority(authority, default) != _parse_authority(headers.get("host", ""), default):
            raise Refused(403, "this comes from another site")
    link = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not link:
        raise Refused(403, "this comes from another site")


def _parse_authority(text: str, default: str = "80") -> tuple[str, str]:
    """Host, in lower case, without brackets and the dot at its end; and port."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise Refused(400, "the Host is no name or address")
    return match[1].strip("[]").lower().removesuffix("."), match[2] or default


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    head = b""
    while True:
        end = _END_OF_HEAD.search(head)
        if end is not None:
            return head[: end.start()]
        if len(head) >= HEAD_BYTES:
            raise Refused(431, f"the head of a request has at most {HEAD_BYTES} bytes")
        block = await reader.read(HEAD_BYTES - len(head))
        if not block:
            raise EOFError("the head ends early")
        head += block


async def _drain_rest(reader: asyncio.StreamReader) -> None:
    while await reader.read(HEAD_BYTES):
        pass


def _listen(host: str, port: int) -> socket.socket:
    error: Exception = OSError("wanted an address or a name of this machine, and a port from 0 to 65535")
    try:
        valid = bool(host) and host.isprintable() and 0 <= port <= 65535
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE) if valid else []
    except (OSError, ValueError) as failed:  # also a name that no host can have
        found, error = [], failed
    for family, _, _, _, place in found:
        both = family == socket.AF_INET6 and place[0] == "::" and socket.has_dualstack_ipv6()
        try:
            return socket.create_server(place, family=family, backlog=BACKLOG, dualstack_ipv6=both)
        except OSError as failed:
            error = failed
    reason = getattr(error, "strerror", None) or error
    raise InputError(f"port {port} of {host} cannot be had: {reason}; choose another --serve or --host") from error


def _address(listener: socket.socket) -> str:
    """URL that a browser on this machine can open; for all addresses, that of the machine itself."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _own_names(bound: IPv4Address | IPv6Address) -> tuple[str, ...]:
    """Names of this machine, where others may ask for it."""
    name = socket.gethostname()
    return () if _is_loopback(bound) else (name, name.partition(".")[0], f"{name.partition('.')[0]}.local")


def _is_loopback(address: IPv4Address | IPv6Address) -> bool:
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _most_connections() -> int:
    """At most half of the files that may still be opened, so that what is recorded finds some."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return CONNECTIONS
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return CONNECTIONS
    folder = Path("/dev/fd")
    used = len(os.listdir(folder)) if folder.is_dir() else 64
    return max(1, min(CONNECTIONS, (limit - used) // 2))
