"""Downloads the file at an address into memory, bounded in time, size and redirects.

Why by hand and not by safehttpx, which Gradio brings: that one connects if any address of a name is
public where all must be, asks Google's name server where the system's knows none that is, follows
no redirects, and bounds neither the size nor the whole time.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO

import httpcore
import httpx
import structlog

from tasks.errors import BadInput
from tasks.settings import MIB
from web.fetching import network, targets
from web.fetching.targets import Rules, Target

log = structlog.get_logger()

MAX_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
SILENCE_S = 8.0
"""A server that sends nothing for so long is given up."""
HEADERS = [
    (b"User-Agent", b"Pixelmill"),
    (b"Accept", b"image/*, */*;q=0.1"),
    (b"Accept-Encoding", b"identity"),
    (b"Connection", b"close"),
]
"""No cookie, no referrer, nothing of the user's request."""
_TIMEOUTS = {"read": SILENCE_S, "write": SILENCE_S, "connect": network.CONNECT_S, "pool": SILENCE_S}


@dataclass(frozen=True)
class Bounds:
    """What a download stays within."""

    bytes: int
    seconds: float
    on_bytes: Callable[[int], None] = lambda count: None
    """Called before bytes are kept, with their number; what it raises ends the download."""


async def download(url: str, rules: Rules, bounds: Bounds) -> bytes:
    """The file at this address. Nobody has looked at its bytes yet: the guard must.

    Raises BadInput: 403 `fetch_off`, 413 `too_large`, else 422.
    """
    target = targets.parse(url, rules)
    try:
        async with asyncio.timeout(bounds.seconds):
            return await _file_at(target, rules, bounds)
    except TimeoutError:
        raise _too_slow() from None


async def _file_at(target: Target, rules: Rules, bounds: Bounds) -> bytes:
    for _ in range(MAX_REDIRECTS + 1):
        try:
            async with _answer_of(target) as answer:
                if answer.status not in REDIRECTS:
                    return await _body(answer, bounds)
                target = targets.redirected(target, _header(answer, b"location"), rules)
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            log.info("address not fetched", reason=type(error).__name__)
            raise _failure(error) from None
    raise BadInput(
        f"this address leads on more than {MAX_REDIRECTS} times",
        code="not_fetched",
        hint="Name the address that it ends at.",
    )


@asynccontextmanager
async def _answer_of(target: Target) -> AsyncIterator[httpcore.Response]:
    """The answer of the server, its body unread."""
    url = target.url
    checked = network.CheckedNetwork(anywhere=target.is_listed)
    async with (
        httpcore.AsyncConnectionPool(
            ssl_context=_tls(), max_connections=1, network_backend=checked
        ) as pool,
        pool.stream(
            b"GET",
            httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=target.port, target=url.raw_path
            ),
            headers=[(b"Host", url.netloc), *HEADERS],
            extensions={"timeout": _TIMEOUTS},
        ) as answer,
    ):
        yield answer


async def _body(answer: httpcore.Response, bounds: Bounds) -> bytes:
    """The whole body, counted as it arrives whatever its length is declared to be."""
    _check_answer(answer, bounds.bytes)
    data = BytesIO()
    async for chunk in answer.aiter_stream():
        if data.tell() + len(chunk) > bounds.bytes:
            raise _too_large(bounds.bytes)
        bounds.on_bytes(len(chunk))
        data.write(chunk)
    return data.getvalue()


def _check_answer(answer: httpcore.Response, limit: int) -> None:
    if answer.status != 200:
        raise BadInput(
            f"the server at this address answered {answer.status}",
            code="not_fetched",
            hint="Open the address in a browser without being signed in.",
        )
    if _header(answer, b"content-encoding").lower() not in ("", "identity"):
        raise BadInput("the file at this address is compressed", code="not_fetched")
    length = _header(answer, b"content-length")
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)


def _header(answer: httpcore.Response, wanted: bytes) -> str:
    """The header's value; empty if there is none."""
    values = (value for name, value in answer.headers if name.lower() == wanted)
    return next(values, b"").decode("latin-1").strip()


def _failure(error: Exception) -> BadInput:
    """What users are told. Why there was no connection must not show."""
    if isinstance(error, httpcore.ConnectError | httpcore.ConnectTimeout):
        return targets.unreachable()
    if isinstance(error, httpcore.TimeoutException):
        return _too_slow()
    return BadInput("the server at this address broke off its answer", code="not_fetched")


def _too_slow() -> BadInput:
    return BadInput(
        "the file at this address did not arrive in time",
        code="fetch_timeout",
        hint="Download the file and send it yourself.",
    )


def _too_large(limit: int) -> BadInput:
    message = f"the file at this address is larger than {limit / MIB:g} MiB"
    return BadInput(message, code="too_large", status=413)


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()
