"""Logs one line per event: a constant name with fields, ids instead of objects, never pixels."""

import logging
import sys
from contextlib import suppress
from typing import TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

TALKATIVE = ("boto3", "botocore", "s3transfer", "urllib3", "httpx", "httpcore")
"""Libraries that log, at the level debug or even info, whole requests: signatures and pictures."""


def configure(level: str) -> None:
    """Log events of `level` and above to standard error, as logfmt lines."""
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _printable,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(_Lossy(sys.stderr)),  # type: ignore[arg-type]  # structlog only writes and flushes
        cache_logger_on_first_use=True,
    )


def printable(text: str) -> str:
    """The same text with control characters, line breaks and lone surrogates as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


class _Lossy:
    """Drops what cannot be written: a full disk must fail the log, never the request or the run."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()


def _printable(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """No field may start a new line or control a terminal.

    Tracebacks keep their line breaks, which the renderer escapes.
    """
    return {
        name: value if value is None or isinstance(value, bool) else _lines(str(value))
        for name, value in event.items()
    }


def _lines(text: str) -> str:
    return "\n".join([printable(line) for line in text.split("\n")])


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
