"""What the service answers, as its page and its OpenAPI document describe it."""

from typing import Any

from pydantic import BaseModel, Field


class FaceRow(BaseModel):
    """One face of one picture, with the names of the tables of `fiqa score`; or why the picture has none."""

    path: str = Field(description="Name of the picture: the file name of its part; empty for a picture alone.")
    face: int | None = Field(description="Index of the face in the picture, largest first.")
    score: float | None = Field(description="Quality; higher is better.")
    quality: int | None = Field(description="0 to 100, where the service has a calibration.")
    accepted: bool | None = Field(description="Whether the score reaches the threshold, where there is one.")
    reasons: list[dict[str, Any]] | None = Field(description="With ?reasons=1, what is wrong: code, text, measure.")
    x: float | None = Field(description="Left side of the box, pixels.")
    y: float | None = Field(description="Upper side of the box, pixels.")
    width: float | None
    height: float | None
    confidence: float | None = Field(description="The detector's, 0 to 1.")
    landmarks: list[float] | None = Field(description="x1 y1 ... x5 y5: eyes, nose, corners of the mouth; pixels.")
    measures: dict[str, float] | None = Field(description="With ?reasons=1, properties of the picture by name.")
    error: str | None = Field(description="Why there is no score.")


class Scores(BaseModel):
    """The answer to pictures."""

    model: str
    faces: list[FaceRow] = Field(description="Picture by picture in the order of the request, largest face first.")


class ProblemDocument(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(description="urn:fiqa:problem:KIND")
    title: str
    status: int
    detail: str = Field(description="What was found, what was wanted, what to do.")


_BINARY = {"schema": {"type": "string", "format": "binary"}}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": _BINARY,
            "application/octet-stream": _BINARY,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"picture": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            },
        },
    }
}
"""The body of a request for scores, for OpenAPI."""

_ERRORS = {
    400: "The request is wrong, or its body is empty.",
    401: "A key is missing or wrong.",
    403: "The service has no key, and another host than this machine was asked for.",
    408: "The body did not arrive in time.",
    413: "The body is too large, or has too many pictures.",
    422: "The picture cannot be scored: it is none, too large or damaged.",
    503: "There is too much to do, see Retry-After; or the service is stopping.",
    504: "The answer took too long.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe errors of a path for OpenAPI; all where none is named."""
    schema = ProblemDocument.model_json_schema()
    return {
        status: {"description": _ERRORS[status], "content": {"application/problem+json": {"schema": schema}}}
        for status in statuses or _ERRORS
    }


KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
"""Ways to show a key, for OpenAPI."""

KEYED: dict[str, Any] = {"security": [{name: []} for name in KEYS] + [{}]}
"""A path that asks for a key where the service has keys, for OpenAPI."""
