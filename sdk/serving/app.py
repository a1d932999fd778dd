"""The application: routes, and how a request becomes an answer."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from sdk import __version__
from sdk.errors import FiqaError, ImageError, InputError
from sdk.results_io.rows import to_row
from sdk.results_io.scored_face import ScoredFace
from sdk.scorer import threshold_of
from sdk.serving.answers import BODY, KEYED, KEYS, Scores, errors
from sdk.serving.bodies import Bodies
from sdk.serving.gate import App, Gate
from sdk.serving.metrics import CONTENT_TYPE, Metrics
from sdk.serving.multipart import split
from sdk.serving.problems import Problem, as_json
from sdk.serving.settings import ServeSettings, read_accept
from sdk.serving.work import Found, Picture, Work

logger = logging.getLogger(__name__)

PATH = "/v1/score"

ABOUT = "Scores how well the faces of pictures can be recognised."

PAGE_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"


class Service:
    """Answer requests for scores.

    Args:
        work: Scores the pictures.
        settings: Limits and keys.

    Attributes:
        stopping: Set when the service ends: `/ready` then says no.
    """

    def __init__(self, work: Work, settings: ServeSettings) -> None:
        self._work, self._settings = work, settings
        self._bodies = Bodies(settings)
        self.metrics = Metrics(lambda: work.inside)
        self.stopping = False

    def app(self) -> App:
        """Return the ASGI application."""
        app = FastAPI(
            title="fiqa", version=__version__, description=ABOUT, docs_url=None, redoc_url=None, redirect_slashes=False
        )
        app.post(
            PATH, response_model=Scores, responses=errors(), openapi_extra={**BODY, **KEYED}, summary="Score faces"
        )(self.score)
        app.get("/health", summary="The process is alive", responses=errors(403))(self.health)
        app.get("/ready", summary="Requests are taken", responses=errors(403, 503))(self.ready)
        app.get(
            "/metrics", summary="Counts, in Prometheus's format", response_class=PlainTextResponse,
            responses=errors(401, 403), openapi_extra=KEYED,
        )(self.count)  # fmt: skip
        app.get("/", include_in_schema=False)(self.page)
        app.add_exception_handler(RequestValidationError, self._refuse)
        app.add_exception_handler(HTTPException, self._refuse)
        app.add_exception_handler(Problem, self._refuse)
        app.add_exception_handler(ClientDisconnect, self._forget)
        app.add_exception_handler(Exception, self._fail)
        app.openapi()["components"]["securitySchemes"] = KEYS
        return Gate(app, self._settings.keys, self.metrics, (PATH,))

    async def score(
        self,
        request: Request,
        aligned: Annotated[bool, Query(description="Each picture is an aligned face of 112 x 112.")] = False,
        reasons: Annotated[bool, Query(description="Say what is wrong with each face.")] = False,
        accept: Annotated[
            str | None, Query(min_length=1, description="Accept faces from this score on, or from enrol or identify.")
        ] = None,
    ) -> Response:
        """Score the faces of a picture, or of several as multipart/form-data.

        A picture alone that cannot be scored is an error. Among several it is a row with an error.
        """
        threshold = self._threshold(accept)
        async with self._bodies.read(request) as body:
            kind = request.headers.get("content-type", "")
            alone = not kind.lower().startswith("multipart/form-data")
            if alone:
                pictures = [Picture("", body, aligned, reasons)]
            else:
                parts = split(body, kind, self._settings.parts)
                pictures = [Picture(part.name, part.data, aligned, reasons) for part in parts]
            found = await self._found(request, pictures)
        rows = list(chain.from_iterable(map(_rows, pictures, found, [alone] * len(found))))
        if threshold is not None:
            rows = [replace(row, accepted=None if row.score is None else row.score >= threshold) for row in rows]
        self.metrics.count_faces(len(pictures), rows)
        answer = {"model": self._work.scorer.card.name, "faces": [_row(row) for row in rows]}
        return Response(as_json(answer), media_type="application/json")

    async def health(self) -> Response:
        """Say that the process is alive."""
        return Response(as_json({"status": "ok"}), media_type="application/json")

    async def ready(self) -> Response:
        """Say whether requests are taken; 503 while the service ends."""
        if self.stopping:
            raise Problem(503, "stopping", "the service is stopping; ask another one")
        return Response(as_json({"status": "ready"}), media_type="application/json")

    async def count(self) -> Response:
        """Give all counts to Prometheus."""
        return Response(self.metrics.text(), media_type=CONTENT_TYPE)

    async def page(self) -> Response:
        """Show how the service is asked."""
        html = (files("sdk.serving") / "page.html").read_text(encoding="utf-8")
        return HTMLResponse(html, headers={"Content-Security-Policy": PAGE_POLICY})

    def _threshold(self, accept: str | None) -> float | None:
        try:
            return threshold_of(self._work.scorer.calibration, read_accept(accept))
        except InputError as error:
            raise Problem(400, "bad-request", str(error)) from error

    async def _found(self, request: Request, pictures: Sequence[Picture]) -> list[Found]:
        """Wait for the faces of all pictures; stop when the client leaves or time is up."""
        futures = self._work.submit(pictures)
        done = asyncio.gather(*map(asyncio.wrap_future, futures))
        leaving = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait((done, leaving), timeout=self._settings.seconds, return_when=asyncio.FIRST_COMPLETED)
            if done.done():
                return list(done.result())
            if leaving.done():
                raise ClientDisconnect
            seconds = f"{self._settings.seconds:g} s"
            raise Problem(504, "timeout", f"there was no answer within {seconds}; send fewer or smaller pictures")
        finally:
            leaving.cancel()
            done.cancel()
            _cancel(futures)

    async def _refuse(self, request: Request, error: Exception) -> Response:
        problem = error if isinstance(error, Problem) else _as_problem(error)
        self.metrics.count_problem(problem.kind)
        return problem.response()

    async def _forget(self, request: Request, error: Exception) -> Response:
        """Answer a client that has left: nobody reads it, and 499 is counted."""
        return Response(status_code=499)

    async def _fail(self, request: Request, error: Exception) -> Response:
        return await self._refuse(request, Problem(500, "failed", "the log of the service says why"))


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _cancel(futures: "Sequence[Future[Found]]") -> None:
    for future in futures:
        future.cancel()


def _rows(picture: Picture, found: Found, alone: bool) -> list[ScoredFace]:
    if not isinstance(found, FiqaError):
        return found
    if not isinstance(found, ImageError):
        raise found
    if alone:
        raise Problem(422, "image", str(found))
    return [ScoredFace(Path(picture.name), error=str(found))]


def _row(face: ScoredFace) -> dict[str, Any]:
    """Return the columns of a face."""
    return {**to_row(face), "path": str(face.path) if face.path.parts else ""}


def _as_problem(error: Exception) -> Problem:
    if isinstance(error, RequestValidationError):
        places = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        return Problem(400, "bad-request", "; ".join(places))
    assert isinstance(error, HTTPException)
    kind = {404: "not-found", 405: "method"}.get(error.status_code, "bad-request")
    return Problem(error.status_code, kind, str(error.detail), error.headers)
