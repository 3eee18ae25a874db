"""What a web process counts itself; Prometheus adds up what several of them say."""

from collections.abc import Iterable

from prometheus_client import Counter

CLAIMS = Counter(
    "pixelmill_claims", "Jobs asked for, by what became of them.", ["model", "verdict"]
)
REFUSED = Counter(
    "pixelmill_refused", "Jobs refused, by the limit that they met.", ["model", "limit"]
)
CLOSED = Counter(
    "pixelmill_connections_closed", "Connections that a web process ended, by reason.", ["reason"]
)
LEASES_LOST = Counter("pixelmill_leases_lost", "Runs that were lost and led again.", ["model"])

REJECTED = Counter(
    "pixelmill_rejected_requests",
    "Requests that were malformed, for another host or from another site, by code of the error.",
    ["code"],
)

REJECTIONS = (
    "bad_request",
    "cross_site",
    "headers_too_large",
    "too_large",
    "unknown_host",
    "unsupported_type",
)
VERDICTS = ("hit", "failed", "join", "start", "busy")
LIMITS = ("in_flight", "waiting", "wait_ms", "scratch", "entering")
LIMITS_OF_DOOR = (
    "at_hand", "bodies_mib", "transfers", "stopping", "min_free_mib", "state_memory_mib",
)  # fmt: skip
"""Met before the model is known; its label is empty."""
REASONS = (
    "slow_headers", "headers_too_large", "framing", "slow_body", "unwanted_body", "slow_reader",
    "idle", "broken", "evicted", "idle_address", "idle_process",
)  # fmt: skip
"""Why a connection is ended; the last three made room for another."""


def begin(models: Iterable[str]) -> None:
    """Show zeros: a series that appears with its first event hides that event from rate()."""
    for limit in LIMITS_OF_DOOR:
        REFUSED.labels("", limit)
    for reason in REASONS:
        CLOSED.labels(reason)
    for code in REJECTIONS:
        REJECTED.labels(code)
    for model in models:
        LEASES_LOST.labels(model)
        for verdict in VERDICTS:
            CLAIMS.labels(model, verdict)
        for limit in LIMITS:
            REFUSED.labels(model, limit)
