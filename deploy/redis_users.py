"""`python -m deploy.redis_users` makes accounts of the state Redis for web processes and workers.

It prints two lines for Redis' ACL file, and on stderr their passwords. Whoever takes over a worker
can read and change jobs, but no password, session, API key, link or audit event, and makes no
account; neither account may configure, empty, copy or stop Redis.
"""

import hashlib
import secrets
import sys

from storage import backlog_keys, keys, quota_keys

WEB, WORKER = "pixelmill-web", "pixelmill-worker"
_OF_JOBS = (
    keys.BROKER_PREFIX, keys.JOB_PREFIX, keys.RUN_PREFIX, keys.RUN_JOBS_PREFIX,
    keys.POSITIONS_PREFIX, keys.METRICS_PREFIX, keys.WAITING_PREFIX, keys.MEAN_STAGE_MS_PREFIX,
    keys.USER_RUNS_PREFIX, keys.USER_JOBS_PREFIX, keys.RESULT_JOBS_PREFIX, keys.UPLOAD_JOBS_PREFIX,
    keys.UPLOAD_PREFIX, keys.UPLOAD_OF_PREFIX, keys.WORKER_PREFIX, keys.MODEL_PREFIX,
    keys.MODEL_VERSIONS_PREFIX,
    backlog_keys.BACKLOG_PREFIX, backlog_keys.TURNS_PREFIX, backlog_keys.TAKEN_PREFIX,
    backlog_keys.FINISH_TAGS_PREFIX, backlog_keys.TICKET_RUNS_PREFIX,
    quota_keys.QUOTA_PREFIX, quota_keys.USAGE_PREFIX, quota_keys.STORED_PREFIX,
)  # fmt: skip
"""What keys begin with that workers need."""
_SINGLE = (
    keys.ACTIVE, keys.HISTORIES, keys.DEADLINES, keys.KEEP_ALIVES, keys.SINCE, keys.PROBE,
    keys.WORKERS, keys.MODELS, keys.SEEN, keys.UNNEEDED_UPLOADS,
    backlog_keys.VIRTUAL_TIMES, backlog_keys.TICKET_COUNT, backlog_keys.CREDITS,
)  # fmt: skip
_BOTH = [
    "allchannels",
    *(f"%R~{key}" for key in keys.OLD_LAYOUTS),  # an earlier layout is looked for at the start
    *("+@all", "-@admin", "-@dangerous", "+info"),
]
RULES = {
    WEB: [f"~{keys.PREFIX}*", *_BOTH],
    WORKER: [
        *(f"~{prefix}*" for prefix in _OF_JOBS),
        *(f"~{key}" for key in _SINGLE),
        f"%R~{keys.PILOT}",  # as the catalogue has it
        *_BOTH,
    ],
}
"""Account -> which keys (~, %R~ to read) and channels it may use, and which commands (+, -)."""


def main() -> None:
    """Print them."""
    for name, rules in RULES.items():
        password = secrets.token_urlsafe(24)
        print("user", name, "on", f"#{hashlib.sha256(password.encode()).hexdigest()}", *rules)
        print(f"{name}: password {password}", file=sys.stderr)


if __name__ == "__main__":
    main()
