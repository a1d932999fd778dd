"""Requests of the page: read in bounds, and refused where another site or name is behind them."""

import asyncio
import re
from collections.abc import Collection, Mapping
from ipaddress import ip_address

from sdk.video.web.listening import is_loopback

HEAD_BYTES = 16384
"""Most bytes of the head of a request."""

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_REQUEST = re.compile(r"([A-Z]+) ([\x21-\x7e]+) HTTP/1\.([01])")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::([0-9]{0,5}))?")


class Refused(Exception):  # noqa: N818 - an answer, not an error
    """A request that is answered with an error."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Requests:
    """Check requests.

    Args:
        address: URL of the page.
        names: Names by which it may be asked for.
        local: Whether only this machine is answered.
    """

    def __init__(self, address: str, names: Collection[str], local: bool) -> None:
        self._address, self._names, self._local = address, names, local

    def check(self, head: bytes) -> tuple[str, str]:
        """Return the method and the path of a request that may be answered.

        Raises:
            Refused: It may not.
        """
        first, *lines = re.split(r"\r?\n", head.decode("latin-1"))
        request = _REQUEST.fullmatch(first)
        if request is None:
            raise Refused(400, "this is no HTTP/1.1 request")
        headers = _parse_headers(lines)
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
        """Refuse a request for another name: a site may have given its own name this machine's address.

        Nobody can do so with an IP address. A page for this machine alone must be asked for by an address of it.
        """
        for authority in authorities:
            host = _parse_authority(authority)[0]
            try:
                known = is_loopback(ip_address(host)) or not self._local
            except ValueError:
                known = host in self._names
            if not known:
                raise Refused(403, f"ask for {self._address}")


def _parse_headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise Refused(400, "a header is damaged")
        name = header[1].lower()
        if name in headers and name in ("host", "origin"):
            raise Refused(400, f"two headers are called {name}")
        headers[name] = header[2].strip()
    return headers


def _check_sender(headers: Mapping[str, str]) -> None:
    """Refuse a request that comes from the page of another site. Following a link from there is allowed."""
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
    """Split an authority into host, in lower case without brackets and without a dot at its end, and port."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise Refused(400, "the Host is no name or address")
    return match[1].strip("[]").lower().removesuffix("."), match[2] or default


async def read_head(reader: asyncio.StreamReader) -> bytes:
    """Read the head of a request, without the empty line at its end.

    Raises:
        Refused: It is too long.
        EOFError: It is not whole.
    """
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


async def drain_rest(reader: asyncio.StreamReader) -> None:
    """Read what a client still sends."""
    while await reader.read(HEAD_BYTES):
        pass
