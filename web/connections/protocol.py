"""A client's connection: what it may send before it has said what it wants, and how slowly.

uvicorn's own protocol waits for ever: for the first byte, for the end of the headers, for a body,
and for whoever does not read an answer. Headers may be endless there.
"""

import asyncio
from itertools import chain
from typing import Any

from starlette.responses import Response
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from tasks.errors import BadInput, JobError, Unavailable
from web.connections.addresses import LOCAL, is_trusted, site
from web.connections.limits import Crowd
from web.connections.memory import MAKE_WAY
from web.errors import error_response
from web.jobs import counters
from web.jobs.admission import Busy

MAX_HEADER_BYTES = 32_768
MAX_HEADERS = 100
HEALTH = frozenset({b"/healthz", b"/readyz"})
"""Answered however many connections there are."""
LINGER_SWEEPS = 3
"""After a last word what still comes is read and dropped, for so many sweeps: a connection that is
closed with something unread is reset, and the client may not get that word."""
LATE_S = 5.0
"""So long after the time of idle connections they are closed here, if nobody did it before: uvicorn
forgets its timer over whatever comes, be it a line break."""

# Called for every request: through `super()` each took twice as long.
_data_received = HttpToolsProtocol.data_received
_on_message_begin = HttpToolsProtocol.on_message_begin
_on_headers_complete = HttpToolsProtocol.on_headers_complete
_on_body = HttpToolsProtocol.on_body
_on_message_complete = HttpToolsProtocol.on_message_complete
_on_response_complete = HttpToolsProtocol.on_response_complete


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits. What takes its time is seen by the crowd's sweep alone."""

    def __init__(
        self,
        crowd: Crowd,
        *,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.crowd, self.limits = crowd, crowd.limits
        self.address, self.is_trusted, self.above = LOCAL, True, ""
        self.received = self.body_received = 0
        self.head_since_s: float | None = None
        """Loop time since when a request's headers are waited for; None: they are here."""
        self.head_bytes = 0
        self.is_body_open = False
        self._answering: RequestResponseCycle | None = None
        self._lingers = 0
        self._watched, self._since_s, self._mark = "", 0.0, 0
        self._extensions: dict[str, Any] = {MAKE_WAY: self.make_way}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Count it in, or turn it away."""
        super().connection_made(transport)
        if self.client:
            self.address = site(self.client[0])
            self.is_trusted = is_trusted(self.address)
        self.head_since_s = self.loop.time()
        self.above = self.crowd.enter(self)
        if self.above and self.crowd.is_overfull:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it out. uvicorn itself tells the request that came last, and no other."""
        for cycle in (self._answering, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)
        self.crowd.forget(self)

    def data_received(self, data: bytes) -> None:
        """Parse, and stop what has endless headers or more framing than body."""
        if self._lingers:
            return
        self.received += len(data)
        was_in_head = self.head_since_s is not None
        _data_received(self, data)
        if self.head_since_s is None:
            if self.is_body_open and self._is_mostly_framing():
                self._end("framing", BadInput("the body is mostly framing", status=400))
        elif was_in_head:
            self.head_bytes += len(data)
            if self.head_bytes > MAX_HEADER_BYTES:
                self._end("headers_too_large", _too_large())

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        _on_message_begin(self)
        if self.head_since_s is None:
            self.head_since_s = self.loop.time()

    def on_headers_complete(self) -> None:
        """Hand the request over, or why not."""
        is_long = self.received > MAX_HEADER_BYTES or len(self.headers) > MAX_HEADERS
        self.head_since_s = None
        self.head_bytes = self.received = self.body_received = 0
        self.is_body_open, self._watched = True, ""
        self.scope["extensions"] = self._extensions
        self.crowd.begin(self)
        is_upgrade = self.parser.should_upgrade()
        if (is_long or is_upgrade or self.above) and (error := self._objection()):
            answer = error_response(error)
            answer.headers["connection"] = "close"
            self.app = answer
        _on_headers_complete(self)
        if is_upgrade:
            self.cycle.keep_alive = False  # httptools has lost what came along with the head
        self.headers = []  # trailers are not added to what the request has

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self.body_received += len(body)
        _on_body(self, body)

    def on_message_complete(self) -> None:
        """All of the request is here."""
        _on_message_complete(self)
        self.is_body_open = False
        if self.cycle.response_complete:
            self.crowd.rest(self)

    def on_response_complete(self) -> None:
        """Idle again, unless another request has come already."""
        _on_response_complete(self)
        if self.cycle.response_complete and not self.is_body_open:
            self.crowd.rest(self)

    def resume_writing(self) -> None:
        """The client reads."""
        self._watched = ""
        super().resume_writing()

    def leave(self) -> None:
        """Close at once, as it is idle and another needs the place."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def make_way(self) -> None:
        """End the request that it is at: it is slow, and others need the memory."""
        if not self.transport.is_closing():
            self._end("made_way", _too_slow())
            counters.CLOSED.labels("made_way").inc()

    def look(self, now_s: float) -> str:
        """End it if it waits for its client, and has for too long; why."""
        if self._lingers:
            self._linger()
            return ""
        if self.head_since_s is not None and not self.transport.is_closing():
            return self._look_at_head(now_s - self.head_since_s)
        kind, done = self._waits_for()
        if kind != self._watched:
            self._watched, self._since_s, self._mark = kind, now_s, done
        elif kind and now_s - self._since_s >= self._patience_s(kind):
            if done - self._mark < self.limits.min_bytes_s * self.limits.rate_window_s:
                return self._end(kind, _too_slow() if kind == "slow_body" else None)
            self._since_s, self._mark = now_s, done
        return ""

    def _look_at_head(self, waited_s: float) -> str:
        if waited_s < self.limits.header_timeout_s or self.flow.read_paused:
            return ""
        # Nothing is said to who said nothing: browsers connect in advance, and would show it.
        return self._end("slow_headers", _head_too_slow() if self.head_bytes else None)

    def _waits_for(self) -> tuple[str, int]:
        """What its client lets us wait for, and how much of it is done, in bytes."""
        unsent = self.transport.get_write_buffer_size()
        is_answered = (
            self.cycle is None or self.cycle.response_complete or self.transport.is_closing()
        )
        if unsent and (is_answered or self.flow.write_paused):
            return "slow_reader", -unsent
        if not self.is_body_open:
            return ("idle", 0) if is_answered else ("", 0)
        if is_answered:
            return "unwanted_body", 0
        is_ours = self.flow.read_paused or self.cycle.waiting_for_100_continue
        return ("", 0) if is_ours else ("slow_body", self.received)

    def _patience_s(self, kind: str) -> float:
        if kind == "idle":
            return self.timeout_keep_alive + LATE_S
        return self.limits.rate_window_s

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing to log: clients may ask for another protocol, and are answered in this one."""

    def _is_mostly_framing(self) -> bool:
        """Chunks of a few bytes each, or trailers without end."""
        return self.received > 2 * self.body_received + MAX_HEADER_BYTES

    def _objection(self) -> JobError | None:
        size = len(self.url) + sum(map(len, chain.from_iterable(self.headers)))
        if size > MAX_HEADER_BYTES or len(self.headers) > MAX_HEADERS:
            return _too_large()
        if self.parser.should_upgrade() and _has_body(self.headers):
            return _upgrade_with_body()
        if not self.above or self.url.partition(b"?")[0] in HEALTH:
            return None
        if self.above == "process":
            return Unavailable("this server has as many connections as it can hold")
        return Busy(
            f"too many connections from one address; the limit is {self.limits.per_address}",
            limit="max_connections_per_address",
            value=self.limits.per_address,
            retry_after_s=5,
        )

    def _end(self, reason: str, error: JobError | None) -> str:
        """Close, and say why where an answer would still be understood."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if error is None or cycle.response_started or self.pipeline or self.head_since_s:
                self.transport.abort()
                return reason
            cycle.disconnected = True
            cycle.message_event.set()
        if error is not None:
            self._say_last(error_response(error))
        elif reason == "slow_reader":
            self.transport.abort()
        else:
            self.transport.close()
        return reason

    def _say_last(self, answer: Response) -> None:
        self.flow.resume_reading()
        self.transport.write(_raw(answer))
        self.transport.write_eof()
        self._lingers = LINGER_SWEEPS
        self.crowd.rest(self)

    def _linger(self) -> None:
        self._lingers -= 1
        if not self._lingers:
            self._lingers = 1  # whatever comes until it is closed is dropped
            self.transport.abort()


def _raw(answer: Response) -> bytes:
    lines = [STATUS_LINE[answer.status_code], b"connection: close\r\n"]
    lines += [b"%b: %b\r\n" % header for header in answer.raw_headers]
    return b"".join([*lines, b"\r\n", bytes(answer.body)])


def _has_body(headers: list[tuple[bytes, bytes]]) -> bool:
    lengths = (value for name, value in headers if name == b"content-length")
    return any(value != b"0" for value in lengths) or b"transfer-encoding" in dict(headers)


def _upgrade_with_body() -> JobError:
    """httptools takes the body for another request, which a proxy in between would not expect."""
    return BadInput(
        "a request with a body may not ask for another protocol",
        code="bad_request",
        status=400,
        hint="Leave the header `Upgrade` out; in Java: `.version(HttpClient.Version.HTTP_1_1)`.",
    )


def _too_large() -> JobError:
    return BadInput(
        f"the headers are larger than {MAX_HEADER_BYTES // 1024} KiB, or more than {MAX_HEADERS}",
        code="headers_too_large",
        status=431,
    )


def _head_too_slow() -> JobError:
    return BadInput("the headers took too long", code="too_slow", status=408)


def _too_slow() -> JobError:
    return BadInput(
        "the body came too slowly",
        code="too_slow",
        status=408,
        hint="Send it again where the network is better, or send a smaller one.",
    )
