"""What a web process counts itself; Prometheus adds up what several of them say."""

from collections.abc import Iterable

from prometheus_client import Counter

CLAIMS = Counter(
    "pixelmill_claims", "Jobs asked for, by what became of them.", ["model", "verdict"]
)
REFUSED = Counter(
    "pixelmill_refused", "Jobs refused, by the limit that they met.", ["model", "limit"]
)
LEASES_LOST = Counter("pixelmill_leases_lost", "Runs that were lost and led again.", ["model"])

VERDICTS = ("hit", "failed", "join", "lead", "busy")
LIMITS = ("in_flight", "waiting", "wait_ms", "scratch", "entering")
LIMITS_OF_DOOR = ("at_hand", "bodies_mib")
"""Met before the model is known; its label is empty."""


def begin(models: Iterable[str]) -> None:
    """Show zeros: a series that appears with its first event hides that event from rate()."""
    for limit in LIMITS_OF_DOOR:
        REFUSED.labels("", limit)
    for model in models:
        LEASES_LOST.labels(model)
        for verdict in VERDICTS:
            CLAIMS.labels(model, verdict)
        for limit in LIMITS:
            REFUSED.labels(model, limit)
