"""A collector of OpenTelemetry for tests: takes OTLP over HTTP, and keeps the spans."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Received:
    """One span; ids are hexadecimal."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    links: tuple[tuple[str, str], ...]
    """(trace, span) of each."""
    attributes: dict[str, Any] = field(compare=False)


class Receiver:
    """What has arrived so far, at an address of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list[Received] = []

    def wait(self, enough: Callable[[list[Received]], bool], seconds: float = 60) -> list[Received]:
        """The spans once there are enough; fails with what there is."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if enough(self.spans):
                return list(self.spans)
            time.sleep(0.05)
        raise AssertionError(f"not enough: {sorted(f'{s.service} {s.name}' for s in self.spans)}")

    def add(self, body: bytes) -> None:
        """The spans of one request."""
        for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = {
                each.key: each.value.string_value for each in of_process.resource.attributes
            }
            for scope in of_process.scope_spans:
                self.spans += [_received(resource["service.name"], span) for span in scope.spans]


def _received(service: str, span: Any) -> Received:
    return Received(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        {each.key: each.value.string_value or each.value.int_value for each in span.attributes},
    )


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens until this ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.add(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield receiver
        server.shutdown()
