"""Bodies of requests, read within limits and held in memory only."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from sdk.serving.problems import Problem, busy
from sdk.serving.settings import ServeSettings


class Bodies:
    """Read bodies. What is larger than a limit is refused before it is read, where its length is known."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._held = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """Read a body, and count it as held until the block ends.

        Raises:
            Problem: It is empty, too large or too slow, or all bodies together are too large.
            ClientDisconnect: The client has left.
        """
        declared = request.headers.get("content-length", "")
        if declared.isdigit():
            self._check(int(declared))
        parts: list[bytes] = []
        try:
            await asyncio.wait_for(self._collect(request, parts), self._settings.seconds)
            if not any(parts):
                raise Problem(400, "empty", "the body is empty, wanted the bytes of a picture, such as a JPEG file")
            yield b"".join(parts)
        except asyncio.TimeoutError:
            seconds = f"{self._settings.seconds:g} s"
            raise Problem(408, "slow", f"the body was not whole after {seconds}; send it faster") from None
        finally:
            self._held -= sum(map(len, parts))

    async def _collect(self, request: Request, parts: list[bytes]) -> None:
        size = 0
        async for part in request.stream():
            size += len(part)
            self._check(size)
            if self._held + len(part) > self._settings.memory:
                raise busy("the bodies of other requests fill the memory for them; send it again later")
            self._held += len(part)
            parts.append(part)

    def _check(self, size: int) -> None:
        most = self._settings.max_bytes
        if size > most:
            raise Problem(413, "too-large", f"the body has {size:,} bytes or more, wanted at most {most:,}")
