"""Limits the time that one run may take in a stage of a cpu worker."""

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import inf
from time import monotonic
from types import FrameType

from tasks.errors import ModelFailure

REPEAT_S = 1.0
"""Interval at which the exception is raised again in code that catches it."""


class _TimeLimitExceeded(BaseException):
    """Not an Exception, so that no `except Exception` of a library swallows it."""


class _Timer:
    """The one timer of this process's main thread."""

    def __init__(self) -> None:
        self.is_installed = False
        self._deadline: float | None = None
        """When the present work exceeds its limit (monotonic); None while there is no work."""
        self._fires_at = inf

    def begin(self, seconds: float) -> None:
        """Work begins that may take this long. A timer that fires sooner stays as it is."""
        self._deadline = monotonic() + seconds
        if self._fires_at > self._deadline:
            self._set(seconds)

    def end(self) -> None:
        """The work is done. The timer keeps running, for the next piece of work."""
        self._deadline = None

    def off(self) -> None:
        """Stop the timer."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._fires_at = inf

    def fired(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler: runs between any two steps of the work."""
        if self._deadline is None:
            self.off()
        elif (left_s := self._deadline - monotonic()) > 0:  # it was set for earlier work
            self._set(left_s)
        else:
            raise _TimeLimitExceeded

    def _set(self, seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT_S)
        self._fires_at = monotonic() + seconds


_timer = _Timer()
_UNLIMITED = nullcontext()


def time_limit(seconds: float, of_run_s: float = inf) -> AbstractContextManager[None]:
    """Raises ModelFailure with code `timeout` inside the body once that has taken so long.

    `of_run_s`: what a run may take in all its stages, where `seconds` is what is left of that.

    This works by a signal, which reaches the main thread only. Elsewhere it does nothing: the
    batcher and the watchdog of a gpu worker have deadlines of their own. The signal waits until a
    call into C returns; if one never does, the worker's hard limit ends the process.
    """
    if threading.current_thread() is not threading.main_thread():
        return _UNLIMITED
    return _Limited(seconds, of_run_s) if _timer.is_installed else _alone(seconds, of_run_s)


class _Limited:
    """Written out, as there are several for each run: a generator costs 2 us more."""

    __slots__ = ("_of_run_s", "_seconds")

    def __init__(self, seconds: float, of_run_s: float) -> None:
        self._seconds, self._of_run_s = seconds, of_run_s

    def __enter__(self) -> None:
        try:
            _timer.begin(self._seconds)
        except _TimeLimitExceeded:  # it was hardly anything
            raise too_long(self._seconds, self._of_run_s) from None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            _timer.end()
        except _TimeLimitExceeded:  # just now
            kind = _TimeLimitExceeded
        if kind is _TimeLimitExceeded:
            raise too_long(self._seconds, self._of_run_s) from None


@contextmanager
def _alone(seconds: float, of_run_s: float) -> Iterator[None]:
    with shared_timer(), _Limited(seconds, of_run_s):
        yield


def too_long(seconds: float, of_run_s: float = inf) -> ModelFailure:
    """The error of a run that took longer than it may: in one stage, or in all of them."""
    if of_run_s < inf:
        return ModelFailure(
            f"this was not done after {of_run_s:g} s of work, which is the limit",
            code="timeout",
            hint="Send less at a time, or try again when less is going on.",
        )
    return ModelFailure(
        f"this picture was not done after {seconds:g} s in one stage, which is the limit",
        code="timeout",
        hint="Try a smaller picture or other parameters, or try again when less is going on.",
    )


@contextmanager
def shared_timer() -> Iterator[None]:
    """Installs the signal's handler once for many `time_limit` in the body.

    Installing it costs more than everything else that they do: so it stays, where it has replaced
    none.
    """
    if _timer.is_installed or threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGALRM)
    if handler != _timer.fired:
        signal.signal(signal.SIGALRM, _timer.fired)
    previous_s, previous_repeat_s = signal.setitimer(signal.ITIMER_REAL, 0)
    began = monotonic()
    _timer.is_installed = True
    try:
        yield
    finally:
        _timer.is_installed = False
        _timer.off()
        if handler not in (_timer.fired, signal.SIG_DFL):
            signal.signal(signal.SIGALRM, handler)
        if previous_s:  # somebody else's timer goes on
            left_s = max(previous_s - (monotonic() - began), 0.001)
            signal.setitimer(signal.ITIMER_REAL, left_s, previous_repeat_s)
