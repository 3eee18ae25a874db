"""The errors that end a connection before a route sees its request, and their raw HTTP answer."""

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from tasks.errors import BadInput, JobError, Unavailable
from web.errors import error_response
from web.header_limits import MAX_HEADER_BYTES, MAX_HEADERS
from web.jobs.admission import Busy


def raw_response(error: JobError) -> bytes:
    """The whole HTTP/1.1 answer, for a connection whose request has no running application."""
    response = error_response(error)
    lines = [STATUS_LINE[response.status_code], b"connection: close\r\n"]
    lines += [b"%b: %b\r\n" % header for header in response.raw_headers]
    return b"".join([*lines, b"\r\n", bytes(response.body)])


def upgrade_with_body() -> JobError:
    """For a request with a body and an Upgrade header.

    httptools takes such a body for the next request, which a proxy in between would not expect.
    """
    return BadInput(
        "a request with a body may not ask for another protocol",
        code="bad_request",
        status=400,
        hint="Leave the header `Upgrade` out; in Java: `.version(HttpClient.Version.HTTP_1_1)`.",
    )


def too_many_connections(limit: str, per_address: int) -> JobError:
    """For a request on a connection above a limit; `limit` is "address" or "process"."""
    if limit == "process":
        return Unavailable("this server has as many connections as it can hold")
    return Busy(
        f"too many connections from one address; the limit is {per_address}",
        limit="max_connections_per_address",
        value=per_address,
        retry_after_s=5,
    )


def headers_too_large() -> JobError:
    """For headers that are too many or too long."""
    return BadInput(
        f"the headers are larger than {MAX_HEADER_BYTES // 1024} KiB, or more than {MAX_HEADERS}",
        code="headers_too_large",
        status=431,
    )


def headers_too_slow() -> JobError:
    """For headers that were not complete in time."""
    return BadInput("the headers took too long", code="too_slow", status=408)


def body_too_slow() -> JobError:
    """For a body that arrives below the minimum rate, or whose memory others need."""
    return BadInput(
        "the body came too slowly",
        code="too_slow",
        status=408,
        hint="Send it again where the network is better, or send a smaller one.",
    )


def mostly_framing() -> JobError:
    """For a chunked body that is mostly chunk headers and trailers."""
    return BadInput("the body is mostly framing", status=400)
