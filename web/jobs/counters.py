"""What a web process counts itself. Prometheus adds up the counts of several processes."""

from collections.abc import Iterable

from prometheus_client import Counter

from storage.quota_kinds import NAMES as QUOTAS

CLAIMS = Counter(
    "pixelmill_claims", "Submitted jobs, by the outcome of their claim.", ["model", "verdict"]
)
REFUSED = Counter(
    "pixelmill_refused", "Refused jobs, by the limit that was reached.", ["model", "limit"]
)
CLOSED = Counter(
    "pixelmill_connections_closed", "Connections that a web process closed, by reason.", ["reason"]
)
PILOT = Counter(
    "pixelmill_pilot_decisions",
    "What the pilot did, or did not, by rule and outcome.",
    ["model", "rule", "outcome"],
)
UPLOADS = Counter("pixelmill_uploads", "Uploads whose bytes have arrived.")
UPLOADED_BYTES = Counter("pixelmill_uploaded_bytes", "Bytes of these uploads.")
SENT_BYTES = Counter(
    "pixelmill_sent_bytes", "Bytes of uploads and results that were sent through a web process."
)
LEASES_LOST = Counter("pixelmill_leases_lost", "Runs that were lost and queued again.", ["model"])
SIGN_INS = Counter("pixelmill_sign_ins", "Sign-ins, by their outcome.", ["outcome"])

REJECTED = Counter(
    "pixelmill_rejected_requests",
    "Requests that were malformed, for another host or from another site, by error code.",
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
SIGN_IN_OUTCOMES = ("ok", "first", "wrong", "disabled", "too_many_tries", "too_busy", "refused")
"""The last one: by the OpenID provider, or for what it says."""
PILOT_RULES = ("roll back", "canary", "scale", "degrade", "recover")
VERDICTS = ("hit", "failed", "join", "start", "busy")
LIMITS = ("in_flight", "waiting", "wait_ms", "scratch", "new_in_progress", *QUOTAS[:-1])
LIMITS_BEFORE_ROUTING = (
    "in_progress", "bodies_mib", "transfers", "fetches", "stopping", "min_free_mib",
    "state_memory_mib",
)  # fmt: skip
"""Checked before the model is known: the label `model` is empty."""
REASONS = (
    "slow_headers", "headers_too_large", "framing", "slow_body", "unwanted_body", "slow_reader",
    "idle", "broken", "evicted", "idle_address", "idle_process",
)  # fmt: skip
"""Why a connection is closed; the last three made room for another."""


def create_series(models: Iterable[str]) -> None:
    """Create all series at zero: rate() does not see an event that creates its series."""
    for limit in LIMITS_BEFORE_ROUTING:
        REFUSED.labels("", limit)
    for reason in REASONS:
        CLOSED.labels(reason)
    for outcome in SIGN_IN_OUTCOMES:
        SIGN_INS.labels(outcome)
    for code in REJECTIONS:
        REJECTED.labels(code)
    for model in models:
        _create_series_of(model)


def _create_series_of(model: str) -> None:
    LEASES_LOST.labels(model)
    for rule in PILOT_RULES:
        PILOT.labels(model, rule, "done")
    for verdict in VERDICTS:
        CLAIMS.labels(model, verdict)
    for limit in LIMITS:
        REFUSED.labels(model, limit)
