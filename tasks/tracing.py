"""Traces for OpenTelemetry: what happened to a run, from its request to its result.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT is set: then nothing of OpenTelemetry is imported. A run's
trace is known by its `traceparent` (W3C Trace Context), which travels in its spec; a run that is
not sampled has none, and costs no more than a look at that.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol, Self

import structlog

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""OpenTelemetry's own variables: where traces are sent to."""

log = structlog.get_logger()

Attributes = Mapping[str, str | int]

_current: ContextVar[str] = ContextVar("traceparent", default="")


class Span:
    """A stretch of work in a trace; this one is of no trace, and does nothing."""

    traceparent = ""
    """Of what happens inside of the span; empty if it is not sampled."""

    def set(self, attributes: Attributes) -> None:
        """Say more of the work."""

    def rename(self, name: str) -> None:
        """What kind of work it is, is known by now."""

    def end(self, error: str = "") -> None:
        """The work has ended; `error` says how it failed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end(kind.__name__ if kind else "")


NOTHING = Span()


class Tracer(Protocol):
    """What makes spans: tasks/otlp.py."""

    def request(self, name: str, headers: Mapping[str, str]) -> Span:
        """Of a request with these headers; begins a trace, or goes on with that of the client. The
        sampler of OpenTelemetry's variables decides."""

    def child(self, name: str, traceparent: str, attributes: Attributes) -> Span:
        """Inside of another span, wherever that is."""

    def linked(self, name: str, traceparents: Sequence[str], attributes: Attributes) -> Span:
        """Work for several traces, which it links to; it is a trace of its own."""

    def stop(self) -> None:
        """Send what has not been sent."""


_tracer: Tracer | None = None


def is_wanted() -> bool:
    """Whether OpenTelemetry's variables ask for traces."""
    variables = os.environ  # noqa: TID251  (OpenTelemetry's variables, not our settings)
    is_disabled = variables.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not is_disabled and any(variables.get(name) for name in ENDPOINTS)


def preload() -> None:
    """Import what `start` needs, if traces are wanted: processes that are forked later share it."""
    if is_wanted():
        from tasks import otlp as otlp


def start(service: str) -> None:
    """Send the spans of this process from now on, if traces are wanted.

    It starts a thread: call it after processes were forked. `service` is the name of the program.
    """
    global _tracer
    if is_wanted():
        from tasks.otlp import OtlpTracer

        _tracer = OtlpTracer(service)
        log.info("traces are sent", service=service)


def stop() -> None:
    """Send what has not been sent, and make no more spans."""
    global _tracer
    if _tracer:
        _tracer.stop()
    _tracer = None


def current() -> str:
    """The `traceparent` of what this thread or coroutine is at; empty if that is not sampled."""
    return _current.get()


@contextmanager
def inside(span: Span) -> Iterator[None]:
    """What is done here belongs to the span; log lines name its trace."""
    if not span.traceparent:
        yield
        return
    token = _current.set(span.traceparent)
    try:
        with structlog.contextvars.bound_contextvars(trace=trace_id(span.traceparent)):
            yield
    finally:
        _current.reset(token)


def trace_id(traceparent: str) -> str:
    """The id of the trace, as tools search for it."""
    return traceparent.split("-")[1]


def request(name: str, headers: Mapping[str, str]) -> Span:
    """The span of a request: see Tracer."""
    return _tracer.request(name, headers) if _tracer else NOTHING


def child(name: str, traceparent: str, attributes: Attributes) -> Span:
    """A span inside of a sampled one; none where there is no `traceparent`."""
    return _tracer.child(name, traceparent, attributes) if _tracer and traceparent else NOTHING


def linked(name: str, traceparents: Sequence[str], attributes: Attributes) -> Span:
    """A span of work for several traces; none where none of them is sampled."""
    sampled = [traceparent for traceparent in traceparents if traceparent]
    return _tracer.linked(name, sampled, attributes) if _tracer and sampled else NOTHING
