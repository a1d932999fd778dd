"""Addresses of streams: find out which text is one, and show it without its secrets."""

import re

from sdk.errors import InputError

SCHEMES = frozenset((
    "ftp", "http", "https", "mms", "mmsh", "mmst", "rist", "rtmp", "rtmpe", "rtmps", "rtmpt", "rtp", "rtsp", "rtsps",
    "srt", "srtp", "tcp", "tls", "udp",
))  # fmt: skip
"""Schemes that FFmpeg may open. It knows others that read files of this machine (`concat://`, `subfile://`)."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SECRET = re.compile(
    r"(?i)([\w-]*(?:user|pass|pwd|pw|auth|token|key|secret|sig)[\w-]*=)(?:\"[^\"]*\"|'[^']*'|[^&;\s]*)"
)


def stream_address(text: str) -> str | None:
    """Return the address of a stream, its scheme in lower case as FFmpeg wants it; None where the text is none.

    Raises:
        InputError: It cannot be an address: it holds blanks or control characters.
    """
    match = _SCHEME.match(text)
    if match is None or match[1].lower() not in SCHEMES:
        return None
    if re.search(r"[\s\x00-\x1f\x7f]", text):
        raise InputError(f"{without_secrets(text)!r} holds a blank or a control character; write it as %20 or the like")
    return match[1].lower() + text[match.end(1) :]


def without_secrets(text: str) -> str:
    """Return an address without user, password, query and other parts that are named like a secret.

    A password may hold any character, even one that no address may hold. So all up to the last `@` is left out.

    Examples:
        >>> without_secrets("rtsp://me:p@ss/word@camera:554/live?token=1")
        'rtsp://***@camera:554/live?***'
    """
    scheme = re.match(r"(?:[\w+.-]+:)?//+|(?=)", text)
    start = scheme.end() if scheme else 0
    head, at, rest = text[:start], *text[start:].rpartition("@")[1:]
    if at and (head or ":" in text):
        text = f"{head}***@{rest}"
    text = re.sub(r"([?#]).*", r"\1***", text, flags=re.DOTALL)
    return _SECRET.sub(r"\1***", text)
