"""Connections whose clients do nothing, by a clock that the test sets."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

import uvicorn
from uvicorn.server import ServerState

from sdk.serving.metrics import Metrics
from sdk.serving.server import AHEAD_BYTES, SILENT_SECONDS, UNREAD_SECONDS, _Connection


@dataclass
class Clock:
    """A loop that has time and timers only."""

    now: float = 1000.0
    timers: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> Any:
        timer = (self.now + seconds, call)
        self.timers.append(timer)
        return SimpleNamespace(cancel=lambda: self.timers.remove(timer) if timer in self.timers else None)

    def go_on(self, seconds: float) -> None:
        """Let time pass, and call the timers that are due."""
        end = self.now + seconds
        while self.timers and min(self.timers)[0] <= end:
            timer = min(self.timers, key=lambda one: one[0])
            self.timers.remove(timer)
            self.now = timer[0]
            timer[1]()
        self.now = end


@dataclass
class Transport:
    """A transport that keeps what its client does not read."""

    unsent: int = 0
    aborted: bool = False
    reads: bool = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str) -> Any:
        there = lambda: ("127.0.0.1", 1)  # noqa: E731
        return SimpleNamespace(setsockopt=lambda *_: None, getsockname=there, getpeername=there, family=0)

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    close = abort


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("no request is begun")


class Connections:
    """Connections of one server with room for two."""

    def __init__(self) -> None:
        self.clock, self.state = Clock(), ServerState()
        self.metrics = Metrics(lambda: 0)
        own = {"most": 2, "metrics": self.metrics, "_all": {}}
        self.kind = type("Connection", (_Connection,), own)
        self.config = uvicorn.Config(_answer, ws="none", lifespan="off", log_config=None)

    def open(self) -> tuple[Any, Transport]:
        transport = Transport()
        made = self.kind(self.config, self.state, {}, self.clock)
        made.connection_made(transport)
        return made, transport


@pytest.fixture
def connections() -> Connections:
    return Connections()


def begin(connection: Any) -> Any:
    """Let the service work on a request that the gate let in; return it."""
    connection.cycle = SimpleNamespace(
        scope={"let_in": True},
        response_started=False,
        response_complete=False,
        message_event=SimpleNamespace(set=lambda: None),
    )
    return connection.cycle


def test_a_silent_client_ends(connections: Connections) -> None:
    _, transport = connections.open()
    connections.clock.go_on(SILENT_SECONDS - 0.1)
    assert not transport.aborted
    connections.clock.go_on(0.2)
    assert transport.aborted
    assert connections.clock.timers == []


def test_a_client_whose_request_is_worked_on_does_not_end(connections: Connections) -> None:
    connection, transport = connections.open()
    request = begin(connection)
    connections.clock.go_on(100)
    assert not transport.aborted
    request.response_started = True  # as when a body is refused that the client still sends
    connections.clock.go_on(SILENT_SECONDS - 0.1)
    assert not transport.aborted
    connections.clock.go_on(2 * SILENT_SECONDS)
    assert transport.aborted


@pytest.mark.parametrize("pipelined", [False, True])
def test_a_client_that_does_not_read_ends(connections: Connections, pipelined: bool) -> None:
    connection, transport = connections.open()
    transport.unsent = 100_000
    connection.pause_writing()
    if pipelined:  # the next answer cannot begin
        begin(connection)
    connections.clock.go_on(UNREAD_SECONDS - 0.1)
    assert not transport.aborted
    connections.clock.go_on(2 * SILENT_SECONDS)
    assert transport.aborted


def test_a_slow_client_that_reads_does_not_end(connections: Connections) -> None:
    connection, transport = connections.open()
    transport.unsent = 1000
    connection.pause_writing()
    for _ in range(20):
        connections.clock.go_on(UNREAD_SECONDS - SILENT_SECONDS)
        transport.unsent -= 50
        assert not transport.aborted
    assert transport.unsent == 0
    connection.resume_writing()
    connections.clock.go_on(SILENT_SECONDS - 0.1)
    assert not transport.aborted
    connections.clock.go_on(0.2)
    assert transport.aborted


def test_at_the_limit_the_longest_wait_for_a_client_ends(connections: Connections) -> None:
    works, first = connections.open()
    begin(works)
    unread, second = connections.open()
    second.unsent = 100_000
    begin(unread)
    unread.pause_writing()
    new, third = connections.open()
    assert [one.aborted for one in (first, second, third)] == [False, True, False]
    unread.connection_lost(OSError())
    begin(new)
    _, fourth = connections.open()
    assert [one.aborted for one in (first, third, fourth)] == [False, False, True]


def test_a_client_that_has_just_read_ends_last(connections: Connections) -> None:
    reads, first = connections.open()
    _, second = connections.open()
    reads.resume_writing()
    connections.open()
    assert (first.aborted, second.aborted) == (False, True)


def test_requests_sent_ahead_are_read_in_small_steps(connections: Connections) -> None:
    connection, transport = connections.open()
    connection.flow.pause_reading()
    connection.conn.receive_data(b"x" * AHEAD_BYTES)
    connection.flow.resume_reading()
    assert transport.reads
    connection.flow.pause_reading()
    connection.conn.receive_data(b"x")
    connection.flow.resume_reading()
    assert not transport.reads
