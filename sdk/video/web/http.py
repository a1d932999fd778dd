"""A server for one page, which the connections of a stranger cannot exhaust.

One thread serves all connections, by asyncio. A connection carries one request. The head of a request has a largest
size and must be whole in time; an answer must be taken in time. When there are too many connections, the one that has
waited longest without a request is closed.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address

from sdk.video.web.listening import address_of, is_loopback, listen, most_connections, own_names
from sdk.video.web.requests import HEAD_BYTES, Refused, Requests, drain_rest, read_head

log = logging.getLogger(__name__)


HEAD_SECONDS = 5.0
"""Seconds in which the head of a request must be whole."""

TAKE_SECONDS = 10.0
"""Seconds in which a client must take an answer, or a part of an answer that never ends."""


PAUSE = 0.5
"""Seconds until the next connection is taken when the system gives none, because too many files are open."""

_REASONS = {
    200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    408: "Request Timeout", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
    503: "Service Unavailable",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request.

    Attributes:
        status: Status code, such as 200.
        kind: Content type.
        body: All bytes; or pieces, until they end or the viewer leaves.
        headers: Further headers.
    """

    status: int
    kind: str
    body: bytes | AsyncGenerator[bytes, None]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    idle: bool = True  # no request has come yet, or its answer is sent
    task: "asyncio.Task[None] | None" = None


class Server:
    """Serve in a thread, from `start` to `close`.

    Args:
        answer: Returns the answer for a path without its query; called in the server's thread.
        headers: Sent with every answer.
        host: Address or name of this machine.
        port: 0 for any that is free.

    Raises:
        InputError: Host and port cannot be used.
    """

    def __init__(self, answer: Callable[[str], Answer], headers: Mapping[str, str], host: str, port: int) -> None:
        self._answer, self._headers = answer, headers
        self._listener = listen(host, port, "--serve or --host")
        bound = ip_address(self._listener.getsockname()[0].partition("%")[0])
        names = {"localhost", *(name.lower().rstrip(".") for name in (host, *own_names(bound)))}
        self.address = address_of(self._listener)
        self._requests = Requests(self.address, names, is_loopback(bound))
        self.most = most_connections()
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
        """Close the connection that has waited longest without a request; returns False where there is none."""
        oldest = next((one for one in self._connections if one.idle and one.task is not None), None)
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
            head = await asyncio.wait_for(read_head(reader), HEAD_SECONDS)
            connection.idle = False
            method, path = self._requests.check(head)
            with_body = method == "GET"
            answer = self._answer(path)
        except (Refused, asyncio.TimeoutError) as error:
            connection.idle = False
            status = error.status if isinstance(error, Refused) else 408
            allow = {"Allow": "GET, HEAD"} if status == 405 else {}
            answer = Answer(status, "text/plain", f"{str(error) or 'no request came'}\n".encode(), allow)
        except Exception:
            log.exception("a request of the page failed; the stream goes on")
            answer = Answer(500, "text/plain", b"this failed; the log says why\n")
        await self._send(writer, answer, with_body)
        writer.write_eof()
        connection.idle = True  # what the client still sends is read, or it might lose the answer
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(drain_rest(reader), 1)

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
