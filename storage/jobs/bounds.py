"""How long leases, records and keys of jobs last, and how much one script does at most.

Redis serves nobody while a script runs, so each must stay below 20 ms: `make bench-scripts`.
"""

DEADLINE_S = 120.0
"""How long a job may wait for its result unless it says otherwise."""
LEASE_MS = 30_000
"""How long a run belongs to the process that last spoke of it."""
GRACE_MS = 3_000
"""How long a run must look lost before it is taken for lost."""
RUN_TTL_MS = 3_600_000
NEGATIVE_TTL_MS = 600_000
"""How long a failure that the same bytes would meet again is remembered."""
METRICS_TTL_MS = 2 * 86_400_000
"""How long the counters of one minute are kept."""
LEAST_KEPT_MS = 900_000
"""How long a job can be read after its end, however much room a history or its Redis lacks."""
KEEP_ALIVE_MS = 30_000
"""How long a job with keep=False lives after it was last looked at."""
IDEMPOTENCY_MS = 86_400_000
TICKET_TTL_MS = 3_600_000
"""How long is known which runs were taken for a ticket whose worker has vanished."""
FIRST_GRACE_MS = 250
"""How long a run waits for another worker that is released for the first time."""
MAX_RELEASES = 24
"""How often a run is released to another worker. All but the first few times cost GRACE_MS or a
little more, so a run waits for at least a minute for the end of an upgrade."""

MOST_LOOKED_AT = 250
"""Runs or entries that one script looks at."""
MOST_EXPIRED = 12
"""Jobs that one script ends because their time is over."""
MOST_REQUEUED = 1
"""Runs that one script requeues, each with its jobs."""
