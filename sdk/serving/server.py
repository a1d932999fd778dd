"""The server round the application: connections that cost nothing, and an end that finishes what was accepted."""

import asyncio
import logging
import math
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol

from sdk.serving.app import Service
from sdk.serving.metrics import Metrics
from sdk.serving.problems import MEDIA_TYPE, as_json, document
from sdk.video.web.listening import address_of, listen

logger = logging.getLogger(__name__)

SILENT_SECONDS = 5.0
"""Time in which the head of a request must be whole, and in which a connection may be idle between two."""

UNREAD_SECONDS = 15.0
"""Time in which a client must read some of an answer. TCP tells of it in steps of up to 64 KB, so a slow client that
reads may look idle for some seconds."""

HEAD_BYTES = 16384
"""Most bytes of the head of a request."""

AHEAD_BYTES = 65536
"""Bytes of further requests in memory from which on no more are read before they are answered."""

SPARE_FILES = 64
"""Open files that are left for other things than connections."""


class _Flow(FlowControl):
    """Reads requests that are sent ahead in small steps: uvicorn alone reads on while one is answered, without end."""

    def __init__(self, transport: asyncio.Transport, conn: h11.Connection) -> None:
        super().__init__(transport)
        self._conn = conn

    def resume_reading(self) -> None:
        if self.read_paused and len(self._conn.trailing_data[0]) <= AHEAD_BYTES:
            super().resume_reading()


class _Connection(H11Protocol):
    """A connection that ends when its client does nothing: sends no request, or drop by drop, or reads no answer."""

    most = 1024
    """Most connections. Then the one that has waited for its client the longest ends."""

    metrics: Metrics

    _all: dict["_Connection", None] = {}  # noqa: RUF012 - the one without progress for the longest is the first
    _since = 0.0  # the last progress
    _unsent = 0.0  # bytes of answers that waited for the client then
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self.conn)
        # asyncio does so only where the listener names its protocol; head and body of an answer would wait 40 ms else.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > self.most:
            oldest = next((one for one in self._all if one._waits_for_client()), self)
            oldest.end()
            if oldest is self:
                return
        self._all[self] = None
        self._since = self.loop.time()
        self._timer = self.loop.call_later(SILENT_SECONDS, self._look)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._note_progress()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.flow.resume_reading()  # what was read ahead is less now
        self._note_progress()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._note_progress()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        if self.cycle is None or self.cycle.response_complete:
            self.metrics.count_problem("bad-request")
            self.metrics.count_request(400, 0.0)
        elif not self.cycle.response_started:  # its head was HTTP, its body is not: the gate counts the request
            self.metrics.count_problem("bad-request")
            self.cycle.scope["status"] = 400  # type: ignore[typeddict-unknown-key]
        body = as_json(document(400, "bad-request", "this is no HTTP/1.1 request"))
        head = [("content-type", MEDIA_TYPE), ("content-length", str(len(body))), ("connection", "close")]
        for event in (h11.Response(status_code=400, headers=head), h11.Data(data=body), h11.EndOfMessage()):
            with suppress(h11.LocalProtocolError):  # an answer has begun already
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _waits_for_client(self) -> bool:
        """Tell whether the connection has no request that the gate let in, or the client must read an answer."""
        cycle = self.cycle
        return cycle is None or cycle.response_started or self.flow.write_paused or not cycle.scope.get("let_in")

    def _note_progress(self) -> None:
        if self in self._all:  # else it has ended
            del self._all[self]
            self._all[self] = None
            self._since, self._unsent = self.loop.time(), self.transport.get_write_buffer_size()

    def _look(self) -> None:
        """End the connection if its client did nothing for too long."""
        unsent = self.transport.get_write_buffer_size() if self._waits_for_client() else math.inf
        if unsent == math.inf or unsent < self._unsent:
            self._note_progress()
        self._unsent = unsent
        left = self._since + (UNREAD_SECONDS if unsent else SILENT_SECONDS) - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(min(left, SILENT_SECONDS), self._look)
        else:
            self.end()

    def _forget(self) -> None:
        self._all.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()

    def end(self) -> None:
        """End at once; what is not sent yet is lost."""
        self._forget()
        self.transport.abort()


class _Server(uvicorn.Server):
    """A server that ends in order at SIGINT and SIGTERM, with exit code 0.

    Args:
        config: Its settings.
        stopping: Called when the end begins.
        seconds: Time that requests get to finish in.
    """

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None], seconds: float) -> None:
        super().__init__(config)
        self._stopping, self._seconds = stopping, seconds

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what has begun. Connections that are left then end, as if their clients had left."""
        limit = asyncio.get_running_loop().call_later(self._seconds, self._end_connections)
        await super().shutdown(sockets)
        limit.cancel()
        self._end_connections()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=1)

    def _end_connections(self) -> None:
        for connection in list(self.server_state.connections):
            assert isinstance(connection, _Connection)
            connection.end()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        def hear(number: int, frame: Any) -> None:
            self._stopping()
            self.handle_exit(number, frame)

        before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(service: Service, host: str, port: int, seconds: float, tell: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; then finish the requests that have begun.

    Args:
        service: What is served.
        host: Address or name of this machine.
        port: 0 for any that is free.
        seconds: Time that requests get to finish in.
        tell: Told the service's address once it listens.

    Raises:
        InputError: Host and port cannot be used.
    """
    listener = listen(host, port, "--port or --host")
    own = {"most": _raise_limit_of_files(), "metrics": service.metrics, "_all": {}}
    connection = type("Connection", (_Connection,), own)

    def stop() -> None:
        service.stopping = True

    config = uvicorn.Config(
        service.app(), http=connection, ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_keep_alive=int(SILENT_SECONDS), timeout_graceful_shutdown=int(seconds) + 1,
    )  # fmt: skip
    tell(address_of(listener))
    with listener:
        _Server(config, stop, seconds).run([listener])


def _raise_limit_of_files() -> int:
    """Let the process open as many files as it may; return how many connections that is."""
    if sys.platform == "win32":
        return _Connection.most
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return max(16, min(4096, (wanted if soft == resource.RLIM_INFINITY else soft) - SPARE_FILES))
