"""One client connection: uvicorn's HTTP protocol with limits on size and time.

uvicorn itself waits without a limit: for the first byte, for the end of the headers, for the body,
and for a client that does not read its answer. It does not bound the size of the headers either.
"""

import asyncio
from itertools import chain
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tasks.errors import JobError
from web.addresses import LOCAL, is_trusted, site
from web.connections import refusals
from web.connections.limits import ConnectionLimiter
from web.connections.memory import EVICT
from web.errors import error_response
from web.header_limits import MAX_HEADER_BYTES, MAX_HEADERS
from web.jobs import counters

HEALTH = frozenset({b"/healthz", b"/readyz"})
"""Health checks are answered however many connections there are."""
LINGER_SWEEPS = 3
"""Lingering close (nginx's term): after an error has been sent to a client that is still sending,
input is read and dropped for this many sweeps. Closing a connection with unread input resets it,
and the client might never see the error."""
LATE_S = 5.0
"""Idle connections are closed by the sweep this long after the idle timeout, in case uvicorn has
not done it: uvicorn cancels its timer whenever anything arrives, even a single line break."""

# Called for every request; calling them through `super()` takes twice as long.
_data_received = HttpToolsProtocol.data_received
_on_message_begin = HttpToolsProtocol.on_message_begin
_on_headers_complete = HttpToolsProtocol.on_headers_complete
_on_body = HttpToolsProtocol.on_body
_on_message_complete = HttpToolsProtocol.on_message_complete
_on_response_complete = HttpToolsProtocol.on_response_complete


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits. Timeouts are enforced by the limiter's sweep only."""

    def __init__(
        self,
        limiter: ConnectionLimiter,
        *,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limiter, self.limits = limiter, limiter.limits
        self.address, self.is_trusted = LOCAL, True
        self.exceeded = ""
        """The limit that this connection exceeds: "address", "process" or none."""
        self.received = self.body_received = 0
        self.head_since_s: float | None = None
        """Loop time since when the server waits for headers; None once they are complete."""
        self.head_bytes = 0
        self.is_body_open = False
        self._answering: RequestResponseCycle | None = None
        self._linger_sweeps_left = 0
        self._stall, self._stall_since_s, self._stall_done = "", 0.0, 0
        """What the client keeps us waiting for, since when, and how many bytes it had done then."""
        self._extensions: dict[str, Any] = {EVICT: self.evict}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Register the connection, or abort it if there is no room for it at all."""
        super().connection_made(transport)
        if self.client:
            self.address = site(self.client[0])
            self.is_trusted = is_trusted(self.address)
        self.head_since_s = self.loop.time()
        self.exceeded = self.limiter.add(self)
        if self.exceeded and self.limiter.is_overfull:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection and tell its unfinished requests: uvicorn tells the last only."""
        for cycle in (self._answering, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)
        self.limiter.remove(self)

    def data_received(self, data: bytes) -> None:
        """Parse; end a request with endless headers, or with more framing than body."""
        if self._linger_sweeps_left:
            return
        self.received += len(data)
        was_in_head = self.head_since_s is not None
        _data_received(self, data)
        if self.head_since_s is None:
            if self.is_body_open and self._is_mostly_framing():
                self._end("framing", refusals.mostly_framing())
        elif was_in_head:
            self.head_bytes += len(data)
            if self.head_bytes > MAX_HEADER_BYTES:
                self._end("headers_too_large", refusals.headers_too_large())

    def on_message_begin(self) -> None:
        """The first byte of a request has arrived."""
        _on_message_begin(self)
        if self.head_since_s is None:
            self.head_since_s = self.loop.time()

    def on_headers_complete(self) -> None:
        """Start the application on the request, or answer why it is refused."""
        is_long = self.received > MAX_HEADER_BYTES or len(self.headers) > MAX_HEADERS
        self.head_since_s = None
        self.head_bytes = self.received = self.body_received = 0
        self.is_body_open, self._stall = True, ""
        self.scope["extensions"] = self._extensions
        self.limiter.mark_busy(self)
        is_upgrade = self.parser.should_upgrade()
        if (is_long or is_upgrade or self.exceeded) and (error := self._refusal()):
            answer = error_response(error)
            answer.headers["connection"] = "close"
            self.app = answer
        _on_headers_complete(self)
        if is_upgrade:
            self.cycle.keep_alive = False  # httptools loses input that follows such a head
        self.headers = []  # else trailers would be added to the request's headers

    def on_body(self, body: bytes) -> None:
        """A part of the body has arrived."""
        self.body_received += len(body)
        _on_body(self, body)

    def on_message_complete(self) -> None:
        """The whole request has arrived."""
        _on_message_complete(self)
        self.is_body_open = False
        if self.cycle.response_complete:
            self.limiter.mark_idle(self)

    def on_response_complete(self) -> None:
        """The connection is idle again, unless the next request has already begun."""
        _on_response_complete(self)
        if self.cycle.response_complete and not self.is_body_open:
            self.limiter.mark_idle(self)

    def resume_writing(self) -> None:
        """The client reads its answer again."""
        self._stall = ""
        super().resume_writing()

    def close_idle(self) -> None:
        """Close at once: the connection is idle, and another one needs its place."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def evict(self) -> None:
        """End the current request: its client is slow, and others need the memory it holds."""
        if not self.transport.is_closing():
            self._end("evicted", refusals.body_too_slow())
            counters.CLOSED.labels("evicted").inc()

    def enforce_timeouts(self, now_s: float) -> str:
        """End the connection if its client is too slow; returns the reason, or an empty text."""
        if self._linger_sweeps_left:
            self._linger()
            return ""
        if self.head_since_s is not None and not self.transport.is_closing():
            return self._enforce_header_timeout(now_s - self.head_since_s)
        stall, done = self._current_stall()
        if stall != self._stall:
            self._stall, self._stall_since_s, self._stall_done = stall, now_s, done
        elif stall and now_s - self._stall_since_s >= self._allowed_s(stall):
            if done - self._stall_done < self.limits.min_bytes_s * self.limits.rate_window_s:
                return self._end(stall, refusals.body_too_slow() if stall == "slow_body" else None)
            self._stall_since_s, self._stall_done = now_s, done
        return ""

    def _enforce_header_timeout(self, waited_s: float) -> str:
        if waited_s < self.limits.header_timeout_s or self.flow.read_paused:
            return ""
        # A browser that has connected in advance and sent nothing would show an answer.
        return self._end("slow_headers", refusals.headers_too_slow() if self.head_bytes else None)

    def _current_stall(self) -> tuple[str, int]:
        """What the client keeps us waiting for, if anything, and how many bytes of it are done."""
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
        is_our_turn = self.flow.read_paused or self.cycle.waiting_for_100_continue
        return ("", 0) if is_our_turn else ("slow_body", self.received)

    def _allowed_s(self, stall: str) -> float:
        if stall == "idle":
            return self.timeout_keep_alive + LATE_S
        return self.limits.rate_window_s

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: clients may ask for another protocol and are answered in HTTP/1.1."""

    def _is_mostly_framing(self) -> bool:
        """Whether the body comes in chunks of a few bytes each, or with endless trailers."""
        return self.received > 2 * self.body_received + MAX_HEADER_BYTES

    def _refusal(self) -> JobError | None:
        size = len(self.url) + sum(map(len, chain.from_iterable(self.headers)))
        if size > MAX_HEADER_BYTES or len(self.headers) > MAX_HEADERS:
            return refusals.headers_too_large()
        if self.parser.should_upgrade() and _has_body(self.headers):
            return refusals.upgrade_with_body()
        if not self.exceeded or self.url.partition(b"?")[0] in HEALTH:
            return None
        return refusals.too_many_connections(self.exceeded, self.limits.per_address)

    def _end(self, reason: str, error: JobError | None) -> str:
        """Close the connection; send the error first if the client can still make sense of it."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if error is None or cycle.response_started or self.pipeline or self.head_since_s:
                self.transport.abort()
                return reason
            cycle.disconnected = True
            cycle.message_event.set()
        if error is not None:
            self._answer_and_close(error)
        elif reason == "slow_reader":
            self.transport.abort()
        else:
            self.transport.close()
        return reason

    def _answer_and_close(self, error: JobError) -> None:
        self.flow.resume_reading()
        self.transport.write(refusals.raw_response(error))
        self.transport.write_eof()
        self._linger_sweeps_left = LINGER_SWEEPS
        self.limiter.mark_idle(self)

    def _linger(self) -> None:
        self._linger_sweeps_left -= 1
        if not self._linger_sweeps_left:
            self._linger_sweeps_left = 1  # input is dropped until the connection is closed
            self.transport.abort()


def _has_body(headers: list[tuple[bytes, bytes]]) -> bool:
    lengths = (value for name, value in headers if name == b"content-length")
    return any(value != b"0" for value in lengths) or b"transfer-encoding" in dict(headers)
