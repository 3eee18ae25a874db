"""Bounds the time that one run may take in a stage of a process of its own."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

from tasks.errors import ModelFailure

AGAIN_S = 1.0
"""Whoever catches what he should not is told again so often."""


class _Overtime(BaseException):
    """Not an Exception, so that no `except Exception` of a library keeps it."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise ModelFailure `timeout` out of the body once it has taken so long.

    By a signal, which reaches the main thread only: elsewhere (a gpu worker, whose batcher and
    watchdog have deadlines of their own) this does nothing. It waits for a call into C to return;
    one that never does is ended with its process, by the hard limit of the worker.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        with _alarm(seconds):
            yield
    except _Overtime:
        raise ModelFailure(
            f"this picture was not done after {seconds:g} s in one stage, which is the limit",
            code="timeout",
            hint="Try a smaller picture or other parameters, or again when less is going on.",
        ) from None


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def over(number: int, frame: FrameType | None) -> None:
        raise _Overtime

    handler = signal.signal(signal.SIGALRM, over)
    before_s, again_s = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
    began = monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if before_s:  # somebody else's goes on
            left_s = max(before_s - (monotonic() - began), 0.001)
            signal.setitimer(signal.ITIMER_REAL, left_s, again_s)
