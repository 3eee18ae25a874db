"""Completes the OpenAPI document with what holds for every route: sign-in, refusals, links."""

import gzip
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from tasks.settings import settings
from web.api import examples
from web.middleware.cookies import cookie_name

Document = dict[str, Any]

METHODS = ("get", "put", "post", "delete", "patch")
_WRITING = {
    403: "A page of another site sent it, or it is not allowed; `code` says which.",
    408: "The body arrived too slowly.",
}
_ALL = {
    400: "The path, the query or a header is malformed.",
    414: "The path or the query is too long.",
    421: "This server does not answer to the host name in the request.",
    431: "The headers are too large.",
}
"""Refusals of the middleware, which no route declares for itself."""
_RETRY_AFTER = {
    "Retry-After": {
        "required": True,
        "description": "Seconds after which to try again.",
        "schema": {"type": "integer", "minimum": 0},
    }
}
_TEXT = {
    "path": r"^[^/\\\x00-\x1f\x7f-\x9f.][^/\\\x00-\x1f\x7f-\x9f]*$",
    "query": r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$",
}
"""Place -> pattern of what web/middleware/validation.py lets pass."""
_FAILURE = {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}}
_JOB = {"$ref": "#/components/schemas/Job"}


def add_document(app: FastAPI) -> None:
    """Make `app.openapi()` answer the completed document, and /openapi.json send it."""
    described = app.openapi

    def openapi() -> Document:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(described())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation says
    _add_route(app)


def _add_route(app: FastAPI) -> None:
    """FastAPI's own route writes 190 KB anew for each request, and sends all of it."""

    @cache
    def written() -> tuple[bytes, bytes, str]:
        plain = JSONResponse(app.openapi()).body
        assert isinstance(plain, bytes)
        return plain, gzip.compress(plain, mtime=0), sha256(plain).hexdigest()[:32]

    async def document(request: Request) -> Response:
        plain, small, version = written()
        takes_gzip = "gzip" in request.headers.get("accept-encoding", "")
        etag = f'"{version}-gzip"' if takes_gzip else f'"{version}"'
        headers = {"etag": etag, "cache-control": "no-cache", "vary": "Accept-Encoding"}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if takes_gzip:
            headers["content-encoding"] = "gzip"
        return Response(small if takes_gzip else plain, 200, headers, "application/json")

    app.add_route("/openapi.json", document, include_in_schema=False)


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Method, path and description of each route."""
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method in methods:
                yield method, path, methods[method]


def _completed(document: Document) -> Document:
    _add_security(document)
    links = _links(document)
    for method, path, operation in operations(document):
        responses = operation["responses"]
        _add_refusals(responses, _ALL if method == "get" else {**_ALL, **_WRITING})
        for status in {"429", "503"} & responses.keys():
            responses[status]["headers"] = {**responses[status].get("headers", {}), **_RETRY_AFTER}
        for status in {"200", "202"} & responses.keys():
            if links and _answers_new_job(operation, responses[status]):
                responses[status]["links"] = links
        if not path.startswith("/api/"):
            operation["security"] = []  # a link shows its picture to everybody
        _complete_parameters(operation)
        _add_failures(path, responses)
    for name, example in examples.SCHEMAS.items():
        document["components"]["schemas"][name]["example"] = example
    return document


def _add_failures(path: str, responses: Document) -> None:
    """An example of each error."""
    for status, response in responses.items():
        media = response.get("content", {}).get("application/json", {})
        example = examples.failure(path, status)
        if example and media.get("schema") == _FAILURE["application/json"]["schema"]:
            # A new one, as _FAILURE is shared.
            response["content"] = {
                **response["content"],
                "application/json": {**media, "example": example},
            }


def _add_security(document: Document) -> None:
    """The ways to be known; nobody needs one in open mode."""
    auth = settings().auth
    schemes = document["components"].setdefault("securitySchemes", {})
    schemes["key"] = {"type": "http", "scheme": "bearer", "description": "An API key."}
    schemes["cookie"] = {"type": "apiKey", "in": "cookie", "name": cookie_name()}
    if auth == "proxy":
        header, who = settings().proxy_user_header, "The proxy in front of this server sets it."
        schemes["proxy"] = {"type": "apiKey", "in": "header", "name": header, "description": who}
    document["security"] = [{name: []} for name in ("key", "cookie", "proxy") if name in schemes]
    document["security"] += [{}] if auth == "open" else []


def _add_refusals(responses: Document, refusals: Mapping[int, str]) -> None:
    for status, why in refusals.items():
        responses.setdefault(str(status), {"description": why, "content": _FAILURE})


def _links(document: Document) -> Document:
    """What can be done with a job, by the name of the route."""
    return {
        operation["operationId"].partition("_api_")[0]: {
            "operationId": operation["operationId"],
            "parameters": {"job_id": "$response.body#/id"},
        }
        for _, path, operation in operations(document)
        if path.startswith("/api/v1/jobs/{job_id}")
    }


def _answers_new_job(operation: Document, response: Document) -> bool:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    is_job = _JOB in (schema, *schema.get("anyOf", []))
    names = {parameter["name"] for parameter in operation.get("parameters", [])}
    return is_job and "job_id" not in names


def _complete_parameters(operation: Document) -> None:
    """Say which characters no parameter may have; drop what FastAPI says of empty headers."""
    for parameter in operation.get("parameters", []):
        schema, place = parameter["schema"], parameter["in"]
        is_free = schema.get("type") == "string" and not {"pattern", "enum", "format"} & set(schema)
        if is_free and place in _TEXT:
            schema["pattern"] = _TEXT[place]
        if place == "header" and schema.get("default") == "":
            del schema["default"]  # of the variable, but an empty header is malformed
