"""How many requests for work one web process deals with at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from web.jobs import admission, counters

MAX_IN_PROGRESS = 64
"""Requests for work that may wait for this process, its CPU or Redis, at a time. Further ones are
refused before they are read: to refuse them later would cost as much as to serve them. Why 64:
docs/benchmarks/device.md."""
MAX_NEW_IN_PROGRESS = 64
"""Requests whose result is not known that one process deals with at a time, including those whose
bytes are on their way to S3."""


class Limiter:
    """Counts the requests in progress and refuses those above a limit."""

    def __init__(self) -> None:
        self._in_progress = self._new = 0

    def check(self) -> None:
        """Raise Busy while MAX_IN_PROGRESS requests are in progress."""
        if self._in_progress >= MAX_IN_PROGRESS:
            counters.REFUSED.labels("", "in_progress").inc()
            raise admission.crowded("in_progress", MAX_IN_PROGRESS)

    @contextmanager
    def in_progress(self) -> Iterator[None]:
        """A request waits for this process until the context ends."""
        self._in_progress += 1
        try:
            yield
        finally:
            self._in_progress -= 1

    @contextmanager
    def waiting_for_s3(self) -> Iterator[None]:
        """A request in progress waits for S3, and so not for this process, until then."""
        self._in_progress -= 1
        try:
            yield
        finally:
            self._in_progress += 1

    @contextmanager
    def new_in_progress(self, model: str) -> Iterator[None]:
        """New work is in progress until the context ends. Raises Busy above the limit."""
        if self._new >= MAX_NEW_IN_PROGRESS:
            counters.REFUSED.labels(model, "new_in_progress").inc()
            raise admission.crowded("new_in_progress", MAX_NEW_IN_PROGRESS)
        self._new += 1
        try:
            yield
        finally:
            self._new -= 1
