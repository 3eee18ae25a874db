"""Bounds the time that one run may take in a stage of a process of its own."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic
from types import FrameType

from tasks.errors import ModelFailure

AGAIN_S = 1.0
"""Whoever catches what he should not is told again so often."""


class _Overtime(BaseException):
    """Not an Exception, so that no `except Exception` of a library keeps it."""


class _Clock:
    """The one timer of this process's main thread."""

    def __init__(self) -> None:
        self.is_watched = False
        self._deadline: float | None = None
        """When the work at hand is over time (monotonic); None: nobody is at work."""
        self._fires = inf

    def begin(self, seconds: float) -> None:
        """Work begins that may take so long. A timer that fires sooner is left as it is."""
        self._deadline = monotonic() + seconds
        if self._fires > self._deadline:
            self._set(seconds)

    def end(self) -> None:
        """The work is done. The timer goes on, for the next."""
        self._deadline = None

    def off(self) -> None:
        """No more timer."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._fires = inf

    def fired(self, number: int, frame: FrameType | None) -> None:
        """Called by the signal, between any two steps of the work."""
        if self._deadline is None:
            self.off()
        elif (left_s := self._deadline - monotonic()) > 0:  # it was set for work before this
            self._set(left_s)
        else:
            raise _Overtime

    def _set(self, seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
        self._fires = monotonic() + seconds


_clock = _Clock()


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
        with watched():
            _clock.begin(seconds)
            try:
                yield
            finally:
                _clock.end()
    except _Overtime:
        raise ModelFailure(
            f"this picture was not done after {seconds:g} s in one stage, which is the limit",
            code="timeout",
            hint="Try a smaller picture or other parameters, or again when less is going on.",
        ) from None


@contextmanager
def watched() -> Iterator[None]:
    """Set the signal up once for many `at_most`: that costs more than all else they do."""
    if _clock.is_watched or threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGALRM, _clock.fired)
    before_s, again_s = signal.setitimer(signal.ITIMER_REAL, 0)
    began = monotonic()
    _clock.is_watched = True
    try:
        yield
    finally:
        _clock.is_watched = False
        _clock.off()
        signal.signal(signal.SIGALRM, handler)
        if before_s:  # somebody else's goes on
            left_s = max(before_s - (monotonic() - began), 0.001)
            signal.setitimer(signal.ITIMER_REAL, left_s, again_s)
