"""Answers of Redis that cannot belong to their questions: counted and logged, never handed over.

The connection that such an answer came on is closed, as later answers may be misplaced too.
"""

from threading import Lock

import structlog

log = structlog.get_logger()


class Mismatches:
    """How many this process has seen so far."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = Lock()

    def report(self, name: str, reason: str) -> None:
        """Count one of the connection to `name` and say so in the log."""
        with self._lock:
            self.count += 1
        log.error("wrong answer, connection ended", link=name, reason=reason)


mismatches = Mismatches()
