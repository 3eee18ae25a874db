"""Times as text and back. All of ours are in ms since 1970, by the clock of Redis."""

from datetime import UTC, datetime
from typing import Literal


def ms_of(time: datetime) -> float:
    """The time in ms since 1970; one without a zone is in UTC."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000


def rfc3339(ms: float, timespec: Literal["seconds", "milliseconds"] = "milliseconds") -> str:
    """The time for programs, in UTC, as RFC 3339 writes it."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec=timespec)


def day(ms: float) -> str:
    """The day for people, in UTC: `2026-11-29`."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d}"


def second(ms: float) -> str:
    """The time for people, in UTC: `2026-11-29 18:04:05`."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
