"""Ends a web process whose event loop stands still, so that its supervisor starts it again.

Docker and systemd act on no health check, but on the end of a process. Its clients learn of that at
once, as their connections are closed. The clock is a thread of C, which needs no GIL: it also ends
a process that hangs inside a library, and writes to stderr where each thread is.
"""

import faulthandler

ALLOWED_S = 30.0
"""Much longer than any turn of the loop, however busy the machine."""

_armed: list[bool] = []


def end_when_hung() -> None:
    """From the first beat on, each has to come within ALLOWED_S of the one before."""
    _armed.append(True)


def beat() -> None:
    """The event loop turns. Does nothing where `end_when_hung` was not called, as in tests."""
    if _armed:
        faulthandler.dump_traceback_later(ALLOWED_S, exit=True)


def stop() -> None:
    """No further beat is expected."""
    if _armed:
        faulthandler.cancel_dump_traceback_later()
