"""Errors as answers: problem details (RFC 9457), and where they are sent."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"

TITLES = {
    "bad-request": "The request is wrong",
    "key": "A key is missing or wrong",
    "host": "Another host was asked for",
    "not-found": "There is nothing here",
    "method": "This method is not answered",
    "slow": "The body did not arrive in time",
    "too-large": "The body is too large",
    "too-many-parts": "There are too many pictures",
    "empty": "There is no picture",
    "image": "The picture cannot be scored",
    "busy": "There is too much to do",
    "timeout": "The answer took too long",
    "stopping": "The service is stopping",
    "failed": "The service failed",
}
"""All kinds of problems, with their titles. The type of a kind is `urn:fiqa:problem:KIND`."""


class Problem(Exception):  # noqa: N818 - an answer, not an error
    """A request that is answered with an error.

    Args:
        status: Status code.
        kind: One of `TITLES`.
        detail: What was found, what was wanted, what to do.
        headers: Further headers of the answer.
    """

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.kind, self.headers = status, kind, dict(headers or {})

    def response(self) -> Response:
        """Return the answer."""
        return Response(as_json(document(self.status, self.kind, str(self))), self.status, self.headers, MEDIA_TYPE)


def document(status: int, kind: str, detail: str) -> dict[str, Any]:
    """Return the members of a problem."""
    return {"type": f"urn:fiqa:problem:{kind}", "title": TITLES[kind], "status": status, "detail": detail}


def as_json(values: Any) -> bytes:
    """Return JSON, which has no NaN."""
    return json.dumps(values, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def busy(detail: str) -> Problem:
    """Return the answer of a service that has too much to do now."""
    return Problem(503, "busy", detail, {"Retry-After": "1"})
