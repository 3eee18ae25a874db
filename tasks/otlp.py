"""Spans by OpenTelemetry's SDK, sent to a collector by OTLP over HTTP. Imported only if wanted."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from tasks import tracing
from tasks.tracing import Attributes

NAME = "pixelmill"


class OtlpSpan(tracing.Span):
    """A span that is recorded, or of a request that is not sampled."""

    def __init__(self, span: Any) -> None:
        self._span = span
        context = span.get_span_context()
        if context.trace_flags.sampled:
            self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-01"

    def set(self, attributes: Attributes) -> None:
        """Say more of the work."""
        self._span.set_attributes(attributes)

    def rename(self, name: str) -> None:
        """What kind of work it is, is known by now."""
        self._span.update_name(name)

    def end(self, error: str = "") -> None:
        """The work has ended; `error` says how it failed."""
        if error:
            self._span.set_status(StatusCode.ERROR, error)
            self._span.set_attribute("error.type", error)
        self._span.end()


class OtlpTracer:
    """Makes the spans of this process, and sends them from a thread of its own."""

    def __init__(self, service: str) -> None:
        named = os.environ.get("OTEL_SERVICE_NAME") or service  # noqa: TID251  (OpenTelemetry's)
        resource = Resource.create({SERVICE_NAME: named})
        processor = BatchSpanProcessor(OTLPSpanExporter())
        # A request is sampled as OTEL_TRACES_SAMPLER says. All else belongs to one that was.
        sampled_by_variables = TracerProvider(resource=resource)
        always = TracerProvider(sampler=ALWAYS_ON, resource=resource)
        self._providers = (sampled_by_variables, always)
        for provider in self._providers:
            provider.add_span_processor(processor)
        self._requests = sampled_by_variables.get_tracer(NAME)
        self._always = always.get_tracer(NAME)

    def request(self, name: str, headers: Mapping[str, str]) -> OtlpSpan:
        """The span of a request."""
        context = extract(headers)
        span = self._requests.start_span(name, context, SpanKind.SERVER)
        return OtlpSpan(span)

    def child(self, name: str, traceparent: str, attributes: Attributes) -> OtlpSpan:
        """A span inside of another one."""
        context = set_span_in_context(NonRecordingSpan(_context(traceparent)))
        return OtlpSpan(self._always.start_span(name, context, attributes=attributes))

    def linked(self, name: str, traceparents: Sequence[str], attributes: Attributes) -> OtlpSpan:
        """A trace of its own, linked to others."""
        links = [Link(_context(traceparent)) for traceparent in traceparents]
        kind = SpanKind.CONSUMER
        span = self._always.start_span(name, None, kind, attributes=attributes, links=links)
        return OtlpSpan(span)

    def stop(self) -> None:
        """Send what has not been sent."""
        for provider in self._providers:
            provider.shutdown()


def _context(traceparent: str) -> SpanContext:
    _, trace, span, flags = traceparent.split("-")
    return SpanContext(int(trace, 16), int(span, 16), True, TraceFlags(int(flags, 16)))
