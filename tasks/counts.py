"""What a web process counts itself; Prometheus adds up what several of them say."""

from prometheus_client import Counter

CLAIMS = Counter(
    "pixelmill_claims", "Jobs asked for, by what became of them.", ["model", "verdict"]
)
REFUSED = Counter(
    "pixelmill_refused", "Jobs refused, by the limit that they met.", ["model", "limit"]
)
LEASES_LOST = Counter("pixelmill_leases_lost", "Runs that were lost and led again.", ["model"])
