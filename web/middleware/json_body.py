"""Bodies that are read as a whole: at most 256 KiB, counted as they arrive, and checked JSON.

Only `/predict` and the S3 path take more: those routes read their bodies themselves.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.errors import BadInput, JobError
from tasks.settings import settings
from web.errors import error_response
from web.jobs import counters
from web.middleware.load_shedding import PREDICT
from web.middleware.page_routes import RUN, check_call
from web.middleware.validation import HEAD, MOST_JSON_BYTES, check_json

FORMS = frozenset({"/login", "/logout"})
FORM_TYPE = b"application/x-www-form-urlencoded"
JSON_TYPE = b"application/json"


class CheckedBody:
    """Reads a small body before any route does, and hands it on if it is what it should be."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._objects = f"/{settings().s3_bucket}/"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """On with the whole body, or 413, 415 or 422."""
        if not self._has_small_body(scope):
            await self.app(scope, receive, send)
            return
        try:
            body = await _read(scope[HEAD], receive)
            if body:
                _check(body, scope["path"], scope[HEAD])
        except JobError as error:
            counters.REJECTED.labels(error.code).inc()
            await error_response(error)(scope, receive, send)
            return
        await self.app(scope, _replayed(body, receive), send)

    def _has_small_body(self, scope: Scope) -> bool:
        if scope["type"] != "http":
            return False
        head, path = scope[HEAD], scope["path"]
        if head.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in head:
            return False
        if scope["method"] == "POST":
            return not path.startswith(PREDICT)
        return scope["method"] != "PUT" or not path.startswith(self._objects)


async def _read(head: dict[bytes, bytes], receive: Receive) -> bytes:
    """The whole body. What is declared too long is not waited for."""
    if int(head.get(b"content-length", b"0")) > MOST_JSON_BYTES:
        raise _too_large()
    data = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise JobError("the client went away", code="disconnected", status=499)
        data += message.get("body", b"")
        if len(data) > MOST_JSON_BYTES:
            raise _too_large()
        if not message.get("more_body", False):
            return bytes(data)


def _check(body: bytes, path: str, head: dict[bytes, bytes]) -> None:
    given = head.get(b"content-type", b"").partition(b";")[0].strip().lower()
    wanted = FORM_TYPE if path in FORMS else JSON_TYPE
    if given != wanted:
        raise BadInput(
            f"the body must be {wanted.decode()}",
            code="unsupported_type",
            status=415,
            hint=f"Send the header `Content-Type: {wanted.decode()}`.",
        )
    if wanted == JSON_TYPE:
        value = check_json(body)
        if path == RUN:
            check_call(value)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body as one message, then what comes after it."""
    is_given = False

    async def replayed() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _too_large() -> BadInput:
    return BadInput(
        f"the body is larger than {MOST_JSON_BYTES // 1024} KiB",
        code="too_large",
        status=413,
        hint="Only POST /api/v1/predict/{model} and signed addresses take images.",
    )
