"""The gate in front of the service: whose requests pass, how an unread body ends, what is counted."""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from ipaddress import ip_address
from typing import Any, TypeAlias

from sdk.serving.metrics import Metrics
from sdk.serving.problems import Problem

logger = logging.getLogger(__name__)

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN = ("/", "/health", "/ready", "/openapi.json")
"""Paths that ask for no key: they tell nothing about pictures."""

DRAIN_SECONDS = 1.0
"""Time in which the rest of a refused body is read. A client that still sends might lose the answer otherwise."""


class Gate:
    """Let requests through to the service. An ASGI application.

    Args:
        app: The service.
        keys: Keys, one of which a request must show; where there is none, it must ask for this machine by a name of
            its loopback address, so that no web page can reach the service by a name of its own.
        metrics: Counts requests.
        counted: Paths whose requests count.
    """

    def __init__(self, app: App, keys: Collection[str], metrics: Metrics, counted: Collection[str]) -> None:
        self._app, self._metrics, self._counted = app, metrics, counted
        self._keys = [key.encode() for key in keys]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(scope, receive, send)
        started = time.perf_counter()
        try:
            self._check(scope)
            scope["let_in"] = scope["path"] not in OPEN
            await self._app(scope, request.receive, request.send)
        except Problem as problem:
            self._metrics.count_problem(problem.kind)
            await problem.response()(scope, request.receive, request.send)
        finally:
            status = scope.get("status", request.status)  # the connection may have answered itself
            if scope["path"] in self._counted and status:
                self._metrics.count_request(status, time.perf_counter() - started)

    def _check(self, scope: Message) -> None:
        headers = dict(scope["headers"])
        if not self._keys:
            _check_host(headers.get(b"host", b"").decode("latin-1"))
        elif scope["path"] not in OPEN:
            scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
            given = token.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")
            if sum(hmac.compare_digest(given, key) for key in self._keys) == 0:  # all are compared, in equal time
                detail = "send one of the service's keys as Authorization: Bearer KEY, or as X-API-Key: KEY"
                raise Problem(401, "key", detail, {"WWW-Authenticate": "Bearer"})


def _check_host(host: str) -> None:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        known = ip_address(name).is_loopback
    except ValueError:
        known = name.lower().rstrip(".") in ("", "localhost")
    if not known:
        raise Problem(403, "host", "this service has no key and answers this machine only; ask for 127.0.0.1")


class _Request:
    """A request whose body may be refused: the connection then ends after the answer."""

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        headers = dict(scope["headers"])
        self._unread = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        self._left = False
        self.status = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._left = message["type"] == "http.disconnect"
        if self._left or not message.get("more_body"):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._unread:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
        elif self._unread and not message.get("more_body"):
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _drain(self) -> None:
        async def read() -> None:
            while self._unread:
                await self.receive()

        try:
            await asyncio.wait_for(read(), DRAIN_SECONDS)
        except asyncio.TimeoutError:
            logger.debug("a client still sends a body that was refused")
