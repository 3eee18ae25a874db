"""Errors as answers: one JSON shape for all, with a sentence and a hint what to do."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from storage.errors import StorageDown
from tasks.errors import BadInput, JobError, Unavailable, storage_unavailable
from web import rate_limit, routes
from web.jobs.admission import Busy
from web.text import logged, sentence, shown

log = structlog.get_logger()
RETRY_AFTER_S = 5


class ErrorBody(TypedDict):
    """The `error` object: schemas.Error."""

    code: str
    message: str
    hint: str | None
    limit: NotRequired[str]
    value: NotRequired[float]
    retry_after_s: NotRequired[int]
    reference: NotRequired[str]
    jobs: NotRequired[list[str | None]]


class JsonResponse(Response):
    """A body that is JSON already. Starlette's constructor takes longer than orjson."""

    media_type = "application/json"

    def __init__(self, body: bytes, status: int, headers: Mapping[str, str] | None) -> None:
        self.body, self.status_code, self.background = body, status, None
        self.raw_headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
        ]
        for name, value in (headers or {}).items():
            self.raw_headers.append((name.encode("latin-1"), value.encode("latin-1")))


def json_response(
    body: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer. Faster than FastAPI's own, since nothing is validated again."""
    return JsonResponse(orjson.dumps(body), status, headers)


def error_body(error: JobError) -> ErrorBody:
    """The `error` object."""
    body: ErrorBody = {"code": error.code, "message": str(error), "hint": error.hint}
    if isinstance(error, Busy):
        body["limit"] = error.limit
        body["value"] = error.value
        body["retry_after_s"] = error.retry_after_s
    return body


def error_response(error: JobError, jobs: Sequence[str | None] = ()) -> Response:
    """The answer to a request that failed with this error.

    `jobs`: ids of those that were started all the same, of a request for several.
    """
    seconds = error.retry_after_s if isinstance(error, Unavailable) else RETRY_AFTER_S
    body = {"error": error_body(error)}
    if any(jobs):
        body["error"]["jobs"] = list(jobs)
    headers = retry_after(error.status, seconds) or {}
    if isinstance(error, Busy):
        headers |= rate_limit.exceeded(error.limit, error.value, error.retry_after_s)
    return json_response(body, error.status, headers)


def storage_response(error: StorageDown, path: str, jobs: Sequence[str | None] = ()) -> Response:
    """The answer while a Redis or S3 is unavailable. `jobs`: see `error_response`."""
    log.warning("storage down", path=logged(path), reason=str(error))
    return error_response(storage_unavailable(), jobs)


def retry_after(status: int, seconds: int = RETRY_AFTER_S) -> dict[str, str] | None:
    """The header that says when to try again, for the statuses that have it."""
    return {"retry-after": str(seconds)} if status in (429, 503) else None


def _failed(reference: str) -> ErrorBody:
    """What is told of an error that nobody expected; the log has it with the same reference."""
    return {
        "code": "error",
        "message": "the server failed",
        "hint": "Try again. If it stays so, tell whoever runs this server the reference "
        f"{reference}: its log says more.",
        "reference": reference,
    }


def _nothing_at(request: Request) -> JobError:
    like = " or ".join(routes.nearest(request))
    meant = f"Did you mean {like}? " if like else ""
    return JobError(
        f"there is nothing at {shown(request.url.path)}",
        code="not_found",
        status=404,
        hint=f"{meant}The API is described at /docs.",
    )


def _other_method(request: Request) -> Response:
    """What OPTIONS asks for, or why another method is not taken."""
    methods = ", ".join(routes.methods_at(request))
    method = routes.method_of(request)
    if method == "OPTIONS":
        return Response(status_code=204, headers={"allow": methods})
    failure = JobError(
        f"{shown(method)} is not taken at {shown(request.url.path)}; {methods} are",
        code="method_not_allowed",
        status=405,
    )
    answer = error_response(failure)
    answer.headers["allow"] = methods
    return answer


def add_handlers(
    app: FastAPI, missing: Callable[[Request], Response | None] = lambda request: None
) -> None:
    """Answer every kind of failure in this shape.

    `missing` may answer in another one where there is nothing at an address.
    """

    @app.exception_handler(JobError)
    async def job_error(request: Request, error: JobError) -> Response:
        return error_response(error)

    @app.exception_handler(StorageDown)
    async def storage_down(request: Request, error: StorageDown) -> Response:
        return storage_response(error, request.url.path)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]  # whose `msg` repeats nothing of the input
        where = ".".join(str(part) for part in first["loc"])
        return error_response(
            BadInput(sentence(f"{where}: {first['msg']}"), code="bad_request", hint="See /docs.")
        )

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return missing(request) or error_response(_nothing_at(request))
        if error.status_code == 405:
            return _other_method(request)
        return error_response(
            JobError(sentence(error.detail), code="http_error", status=error.status_code)
        )

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        reference = secrets.token_hex(4)
        path = logged(request.url.path)
        log.error("unhandled exception", path=path, reference=reference, exc_info=error)
        return json_response({"error": _failed(reference)}, 500)
