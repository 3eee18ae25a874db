"""The spans of one message: of the stage of each run that is sampled, and of the message itself."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import orjson

from storage.jobs.endings import End
from storage.jobs.spec import RunRef
from storage.jobs.stages import StageStart
from tasks import tracing

_NOTHING = nullcontext()


class RunSpans:
    """A run's span begins when its work does, and ends with its outcome."""

    def __init__(self, stage: str, model: str, live: Mapping[RunRef, StageStart]) -> None:
        self._stage, self._model = stage, model
        found = {ref: _traceparent(answer.spec) for ref, answer in live.items()}
        self._traceparents = {ref: traceparent for ref, traceparent in found.items() if traceparent}
        self._spans: dict[RunRef, tracing.Span] = {}
        self._message = tracing.linked(
            f"message {stage}",
            list(self._traceparents.values()),
            {"pixelmill.model": model, "pixelmill.runs": len(live)},
        )

    def __enter__(self) -> "RunSpans":
        return self

    def __exit__(self, *error: object) -> None:
        for span in self._spans.values():
            span.end("interrupted")
        self._message.end()

    def of(self, ref: RunRef) -> AbstractContextManager[None]:
        """What is done in it is part of this run."""
        return self._inside(ref) if ref in self._traceparents else _NOTHING

    @contextmanager
    def _inside(self, ref: RunRef) -> Iterator[None]:
        if ref not in self._spans:
            self._spans[ref] = tracing.child(self._stage, self._traceparents[ref], self._about(ref))
        with tracing.inside(self._spans[ref]):
            yield

    def end(self, ref: RunRef, outcome: Any) -> None:
        """The stage is done with this run."""
        if span := self._spans.pop(ref, None):
            span.end(_error(outcome))

    def _about(self, ref: RunRef) -> tracing.Attributes:
        return {
            "pixelmill.run": ref.key[:12],
            "pixelmill.attempt": ref.attempt,
            "pixelmill.model": self._model,
        }


def _traceparent(spec: str) -> str:
    """That of the request that started the run; empty if it is not sampled."""
    return str(orjson.loads(spec).get("traceparent", "")) if '"traceparent"' in spec else ""


def _error(outcome: Any) -> str:
    """How a stage has failed; empty if it has not."""
    if isinstance(outcome, Exception):  # why the run cannot be done here and now
        return type(outcome).__name__
    if isinstance(outcome, End) and outcome.state == "failed":
        return str(orjson.loads(outcome.payload)["code"])
    return ""
