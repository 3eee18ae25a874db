"""Reads and validates request bodies: at most 256 KiB, counted as they arrive, and valid JSON.

Only `/predict`, the upload of programs and the S3 path accept more; those routes read their bodies
themselves.
"""

from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.errors import BadInput, JobError
from tasks.settings import settings
from web.errors import error_response
from web.jobs import counters
from web.middleware.load_shedding import PREDICT
from web.middleware.page_routes import LOGIN, RUN, UPLOAD, check_call
from web.middleware.validation import HEAD, MAX_JSON_BYTES, check_json

PARSED = "pixelmill.json"
"""Key of the ASGI scope for the value of a JSON body, so that no route parses it again."""

FORMS = ("/login", "/logout", "/account", "/system/pilot/", LOGIN)
"""Paths, and beginnings of paths, that take the form of a page instead of JSON."""
FORM_TYPE = b"application/x-www-form-urlencoded"
JSON_TYPE = b"application/json"


class CheckedBody:
    """Reads a body of bounded size before the route does, and passes it on if it is valid."""

    def __init__(self, app: ASGIApp, is_routed: Callable[[Scope], bool]) -> None:
        """`is_routed`: whether there is something at a request's path that takes its method."""
        self.app, self._is_routed = app, is_routed
        self._objects = f"/{settings().s3_bucket}/"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its whole body, or answer 413, 415 or 422.

        A request that no route takes is passed on without its body, if that is not too large.
        """
        if not self._has_bounded_body(scope):
            await self.app(scope, receive, send)
            return
        try:
            body = await _read(scope[HEAD], receive)
            if body:
                scope[PARSED] = _checked(body, scope["path"], scope[HEAD])
        except JobError as error:
            if error.status != 413 and not self._is_routed(scope):  # 404 or 405 says more
                await self.app(scope, _replayed(b"", receive), send)
                return
            counters.REJECTED.labels(error.code).inc()
            await error_response(error)(scope, receive, send)
            return
        await self.app(scope, _replayed(body, receive), send)

    def _has_bounded_body(self, scope: Scope) -> bool:
        if scope["type"] != "http":
            return False
        head: dict[bytes, bytes] = scope[HEAD]
        path: str = scope["path"]
        if head.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in head:
            return False
        if scope["method"] in ("POST", "PUT") and path.startswith(PREDICT):
            return False
        if scope["method"] == "POST":
            return path != UPLOAD
        return scope["method"] != "PUT" or not path.startswith(self._objects)


async def _read(head: dict[bytes, bytes], receive: Receive) -> bytes:
    """The whole body; one that is declared too long is refused before it arrives."""
    if int(head.get(b"content-length", b"0")) > MAX_JSON_BYTES:
        raise _too_large()
    data = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise JobError("the client disconnected", code="disconnected", status=499)
        data += message.get("body", b"")
        if len(data) > MAX_JSON_BYTES:
            raise _too_large()
        if not message.get("more_body", False):
            return bytes(data)


def _checked(body: bytes, path: str, head: dict[bytes, bytes]) -> Any:
    """The value of a JSON body; None for a form."""
    media_type = head.get(b"content-type", b"").partition(b";")[0].strip().lower()
    wanted = FORM_TYPE if path.startswith(FORMS) else JSON_TYPE
    if media_type != wanted:
        raise BadInput(
            f"the body must be {wanted.decode()}",
            code="unsupported_type",
            status=415,
            hint=f"Send the header `Content-Type: {wanted.decode()}`.",
        )
    if wanted == FORM_TYPE:
        return None
    value = check_json(body)
    if path == RUN:
        check_call(value)
    return value


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that yields the body as one message, then whatever comes after it."""
    is_sent = False

    async def replayed() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _too_large() -> BadInput:
    return BadInput(
        f"the body is larger than {MAX_JSON_BYTES // 1024} KiB",
        code="too_large",
        status=413,
        hint="Only /api/v1/predict/{model} and signed addresses take images.",
    )
