"""Download a file over HTTPS. A download that is too large, too slow, or leads to an unsafe address is stopped."""

import base64
import contextlib
import http.client
import logging
import os
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from sdk.errors import ModelError

logger = logging.getLogger(__name__)

TIMEOUT = 30.0
"""Seconds without an answer after which a download is stopped."""

SLOWEST = 1000
"""Bytes a second, on average, below which a download is stopped after `TIMEOUT`."""

_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
_BLOCK = 1 << 16


def check_address(url: str) -> None:
    """Refuse an address that is neither HTTPS nor plain HTTP on this machine.

    Raises:
        ModelError: The address is refused.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        safe = bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and host in _THIS_MACHINE))
        safe = safe and (parts.port is None or parts.port > 0)
    except ValueError:
        safe = False
    if not safe:
        raise ModelError(
            f"{_shown(url)} is not HTTPS (plain HTTP is allowed from this machine only); correct FIQA_MIRROR"
        )


def download(url: str, most: int, progress: Any = False) -> bytes:
    """Download a file from an address that `check_address` has passed.

    Args:
        url: The address. A user and a password in it are sent, but never shown.
        most: Largest file, bytes.
        progress: See `sdk.models.store.fetch_model`.

    Returns:
        Content of the file.

    Raises:
        OSError: There is no answer, the file is too large, the download is too slow, or it leads to an unsafe address.
    """
    logger.info("downloading %s", _shown(url))
    job = _Job(url, most)
    thread = threading.Thread(target=job.work, name="fiqa-download", daemon=True)
    thread.start()
    start, shown = time.monotonic(), 0
    # A timeout of the socket starts again with every byte. So this thread watches the speed of the whole download.
    try:
        with _bar(progress, most) as bar:
            while thread.is_alive():
                thread.join(0.1)
                took, came = time.monotonic() - start, len(job.data)
                if bar is not None and came > shown:
                    bar.update(came - shown)
                    shown = came
                if thread.is_alive() and took > TIMEOUT and came < SLOWEST * (took - TIMEOUT / 2):
                    raise OSError(f"{_shown(url)}: {came:,} bytes came in {took:.0f} s; that is too slow")
    finally:
        job.unwanted.set()
    if job.error is not None:
        raise OSError(f"{_shown(url)}: {job.error}") from job.error
    return bytes(job.data)


class _Job:
    """Work of a download's thread.

    Attributes:
        data: Bytes that came so far.
        error: The reason why it stopped early; None if there is none.
        unwanted: Set to stop it.
    """

    def __init__(self, url: str, most: int) -> None:
        self._url, self._most = url, most
        self.data = bytearray()
        self.error: Exception | None = None
        self.unwanted = threading.Event()

    def work(self) -> None:
        try:
            with _opener().open(_request(self._url), timeout=TIMEOUT) as answer:
                said = answer.headers.get("Content-Length", "")
                if said.isascii() and said.isdigit() and len(said) < 20 and int(said) > self._most:
                    raise OSError(f"it says that it sends {int(said):,} bytes, wanted at most {self._most:,}")
                while (block := answer.read1(_BLOCK)) and not self.unwanted.is_set():
                    self.data += block
                    if len(self.data) > self._most:
                        raise OSError(f"it sends more than {self._most:,} bytes")
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.error = error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to safe addresses only."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        try:
            check_address(newurl)
            safe = req.type != "https" or urlsplit(newurl).scheme == "https"
        except ModelError:
            safe = False
        if not safe:
            raise OSError(f"it leads to {_shown(newurl)}, which is not HTTPS")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    context = ssl.create_default_context()
    with contextlib.suppress(ImportError):  # for a system without certificates
        import certifi

        context.load_verify_locations(certifi.where())
    if bundle := os.environ.get("REQUESTS_CA_BUNDLE"):
        context.load_verify_locations(bundle)
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _Redirects())


def _request(url: str) -> urllib.request.Request:
    """Make a request. User and password of the address go into a header that is not sent after a redirect."""
    parts = urlsplit(url)
    name, at, place = parts.netloc.rpartition("@")
    request = urllib.request.Request(
        urlunsplit(parts._replace(netloc=place)), headers={"User-Agent": "fiqa", "Accept-Encoding": "identity"}
    )
    if at:
        token = base64.b64encode(unquote(name).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


@contextlib.contextmanager
def _bar(progress: Any, total: int) -> Iterator[Any]:
    if progress is False:
        yield None
        return
    progress.reset()
    progress.total = total
    try:
        yield progress
    finally:
        progress.close()


def _shown(url: str) -> str:
    """Return an address without user, password and query, which may be secret."""
    start, colon, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    return f"{start}{colon}{place.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
