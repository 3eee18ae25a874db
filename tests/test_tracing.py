"""Traces: one for each run, from its request to its result, as a real collector receives them."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
import structlog
from otlp_receiver import Received, Receiver, receiving
from stack import API_KEY, MODEL_PATHS, REPOSITORY, Stack

from tasks import tracing

STAGES = ("preprocess", "inference", "postprocess")
WEB, CPU, GPU = "pixelmill-web", "pixelmill-cpu-worker", "pixelmill-gpu-worker"
REQUEST = "POST /api/v1/predict/{model}"
OF_RUN = {(WEB, REQUEST), (WEB, "claim"), (CPU, STAGES[0]), (GPU, STAGES[1]), (CPU, STAGES[2])}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def traced(
    servers: Stack, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Web, one prefork and one threaded worker, which send their spans."""
    env = {
        "PIXELMILL_MODELS": "noop",
        "PIXELMILL_MODEL_PATHS": MODEL_PATHS,
        "PIXELMILL_CPU_PROCESSES": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with Stack(tmp_path_factory.mktemp("traced"), env) as stack:
        stack.use_servers_of(servers)
        stack.start_workers()
        stack.start_web()
        stack.wait_until_live()
        yield stack


def predict(stack: Stack, wait: int, **headers: str) -> httpx.Response:
    """A new run of the no-op model."""
    answer = httpx.post(
        f"{stack.url}/api/v1/predict/noop?salt={time.time_ns()}&wait={wait}",
        headers={"Authorization": f"Bearer {API_KEY}", **headers},
        content=(REPOSITORY / "examples" / "coffee.jpg").read_bytes(),
        timeout=90,
    )
    return answer.raise_for_status()


def of_trace(spans: list[Received], trace: str) -> list[Received]:
    return [span for span in spans if span.trace == trace]


def is_whole(spans: list[Received], trace: str) -> bool:
    """Whether each step of a run has a span in its trace."""
    return {(span.service, span.name) for span in of_trace(spans, trace)} == OF_RUN


def test_three_runs_of_one_message_are_three_whole_traces_that_message_and_batches_link(
    traced: Stack, receiver: Receiver
) -> None:
    worker = traced.processes["cpu-worker"].pid
    os.killpg(worker, signal.SIGSTOP)  # so that it finds all three when it goes on
    try:
        parents = [predict(traced, 0).headers["traceparent"] for _ in range(3)]
    finally:
        os.killpg(worker, signal.SIGCONT)
    traces = [parent.split("-")[1] for parent in parents]
    kinds = [*(f"message {stage}" for stage in STAGES), "batch"]

    spans = receiver.wait(
        lambda spans: (
            all(is_whole(spans, trace) for trace in traces)
            and all(_linked(spans, kind) >= set(traces) for kind in kinds)
        )
    )

    assert len(set(traces)) == 3
    for trace in traces:
        own = of_trace(spans, trace)
        [root] = [span for span in own if not span.parent]
        assert root.name == REQUEST and len(own) == len(OF_RUN)
        assert {span.parent for span in own if span != root} == {root.id}
    [message] = [span for span in spans if span.name == "message preprocess"]
    assert {trace for trace, _ in message.links} == set(traces)
    assert message.trace not in traces
    inferences = {(span.trace, span.id) for span in spans if span.name == "inference"}
    assert all(set(span.links) <= inferences for span in spans if span.name == "batch")


def _linked(spans: list[Received], name: str) -> set[str]:
    """The traces that spans of this name link to."""
    return {trace for span in spans if span.name == name for trace, _ in span.links}


def test_a_run_is_part_of_the_clients_trace_and_the_log_leads_from_its_job_to_it(
    traced: Stack, receiver: Receiver
) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

    answer = predict(traced, 30, traceparent=f"00-{trace}-{span}-01")

    spans = of_trace(receiver.wait(lambda spans: is_whole(spans, trace)), trace)
    [root] = [each for each in spans if each.name == REQUEST]
    assert root.parent == span
    assert root.attributes["http.response.status_code"] == 200
    job = answer.json()["id"]
    [line] = [line for line in (traced.folder / "web.log").read_text().splitlines() if job in line]
    assert 'event="job claimed"' in line and f"trace={trace}" in line
    assert re.search(r"\brun=[0-9a-f]{12}\b", line)


def test_a_request_that_is_not_sampled_has_no_spans(traced: Stack, receiver: Receiver) -> None:
    trace = "1bf7651916cd43dd8448eb211c80319d"

    answer = predict(traced, 30, traceparent=f"00-{trace}-b7ad6b7169203331-00")
    after = predict(traced, 30).headers["traceparent"].split("-")[1]

    assert "traceparent" not in answer.headers
    spans = receiver.wait(lambda spans: is_whole(spans, after))
    assert of_trace(spans, trace) == []


def test_where_no_traces_are_wanted_nothing_is_imported_for_them() -> None:
    code = """
import sys, web.app, workers.boot, tasks.inference, workers.gpu.batcher
from tasks import tracing
tracing.preload()
tracing.start("x")
with tracing.linked("batch", [""], {}) as span, tracing.inside(span):
    assert tracing.current() == ""
sys.exit("opentelemetry.exporter" in sys.modules or "tasks.otlp" in sys.modules)
"""
    env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", code], env={**env, "PYTHONPATH": str(REPOSITORY)})

    assert done.returncode == 0


def test_log_lines_of_a_sampled_run_name_its_trace_and_those_after_it_do_not() -> None:
    span = tracing.Span()
    span.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    with tracing.inside(span), tracing.inside(tracing.NOTHING):
        bound = structlog.contextvars.get_contextvars()
        inside = tracing.current()

    assert bound == {"trace": "0af7651916cd43dd8448eb211c80319c"}
    assert inside == span.traceparent
    assert structlog.contextvars.get_contextvars() == {} and tracing.current() == ""
