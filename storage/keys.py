"""Every Redis key, S3 key and cache key, built here and nowhere else, so that none can collide."""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping, Sequence

PREFIX = "px1:"
"""All Redis keys start so; the number is the version of the layout."""
BROKER_PREFIX = "px1:q:"
JOB_PREFIX = "px1:job:"
UPLOAD_OF_PREFIX = "px1:upload-of:"
ACTIVE = "px1:active"
"""Sorted set of the request keys of runs under way, by time of their claim."""
RECONCILER = "px1:reconciler"
"""Lock: one web process at a time looks for lost runs."""
SWEEPER = "px1:sweeper"
"""Lock: one web process at a time removes old objects."""
SWEPT = "px1:swept"
"""Hash: S3 prefix -> key up to which old objects have been removed in this round."""
POSITIONS_PREFIX = "px1:priority:"
STAT_PREFIX = "px1:stat:"
WAITING_PREFIX = "px1:waiting:"
PACE_PREFIX = "px1:pace:"
USER_RUNS_PREFIX = "px1:user-runs:"
RESULT_JOBS_PREFIX = "px1:result-jobs:"
UPLOAD_JOBS_PREFIX = "px1:upload-jobs:"
HISTORIES = "px1:histories"
"""Sorted set of the users who have a list of jobs, by when its oldest entry may expire, in ms."""
DEADLINES = "px1:deadlines"
"""Sorted set of job ids by when they expire, in ms; some of them have ended long ago."""
INTERESTS = "px1:interests"
"""Sorted set of the ids of jobs that live only while somebody looks, by until when, in ms."""
UNWANTED = "px1:unwanted"
"""Channel: `request key:number` of runs under way that nobody waits for any more."""
SINCE = "px1:since"
"""In both Redis: since when it has been in use, in ms."""
RUN_EVENTS = "px1:run-events:*"
"""Pattern of the channels of all runs."""
USER_EVENTS = "px1:user-jobs:*"
"""Pattern of the channels of all users."""
PROBE = "px1:probe"
"""Written to find out whether the state Redis takes writes."""
API_KEY_PREFIX = "px1:api-key:"
PREPARED = "px1:prepared"
"""Set when bucket and first account were made: without it the state Redis has lost everything."""
WORKERS = "px1:workers"
MODELS = "px1:models"
SEEN = "px1:seen"
UPLOADS = "in/"
"""S3 prefix of uploads."""
RESULTS = "out/"
"""S3 prefix of results."""
WEIGHTS = "models/"
"""S3 prefix of converted weights."""
_EDITION = re.compile(rf"{RESULTS}[^/]+/[^/]+/([0-9]{{10}})-[0-9a-f]{{8}}/")


def queue(name: str, celery_priority: int) -> str:
    """List of the messages of one priority in a queue of the broker, as kombu names it."""
    return f"{BROKER_PREFIX}{name}" + (f"\x06\x16{celery_priority}" if celery_priority else "")


def job(job_id: str) -> str:
    """Hash of one job."""
    return JOB_PREFIX + job_id


def run(request_key: str) -> str:
    """Hash of the run that computes `request_key`."""
    return f"px1:run:{request_key}"


def run_jobs(request_key: str) -> str:
    """Set of the ids of the jobs that wait for this run."""
    return f"px1:run-jobs:{request_key}"


def run_events(request_key: str) -> str:
    """Channel on which every change of this run is published."""
    return f"px1:run-events:{request_key}"


def positions(line: str, priority: str) -> str:
    """Hash of one priority of a stage's queue: numbers taken (`next`), the highest `started`."""
    return f"{POSITIONS_PREFIX}{line}:{priority}"


def waiting(variant: str, priority: str) -> str:
    """Sorted set of the runs (keys of their hashes) that have yet to go through their model.

    `variant`: the model, or model:profile where that has a cost of its own.
    """
    return f"{WAITING_PREFIX}{variant}:{priority}"


def pace(model: str) -> str:
    """Hash: moving means of ms per run of the cpu stages; `left`: when the model last gave one."""
    return f"{PACE_PREFIX}{model}"


def user_runs(user: str) -> str:
    """Sorted set of a user's runs under way (keys of their hashes), by time of claim."""
    return f"{USER_RUNS_PREFIX}{user}"


def user_jobs(user: str) -> str:
    """Sorted set of a user's job ids by time of creation, in ms.

    And the channel on which the id of each new job that has to wait is published.
    """
    return f"px1:user-jobs:{user}"


def result_jobs(request_key: str) -> str:
    """Sorted set of the ids of the jobs that need a result, by when their records expire (ms)."""
    return f"{RESULT_JOBS_PREFIX}{request_key}"


def upload_jobs(user: str, upload_id: str) -> str:
    """Sorted set of the ids of the jobs that need an upload, by when their records expire (ms)."""
    return f"{UPLOAD_JOBS_PREFIX}{user}:{upload_id}"


def user(name: str) -> str:
    """Hash of an account: password hash and role."""
    return f"px1:user:{name}"


def api_key(secret: str) -> str:
    """The user whom an API key belongs to; only the key's hash is stored."""
    return f"{API_KEY_PREFIX}{hashlib.sha256(secret.encode()).hexdigest()}"


def upload(user: str, upload_id: str) -> str:
    """Hash of one upload."""
    return f"px1:upload:{user}:{upload_id}"


def upload_of(user: str, sha256: str, variant: str) -> str:
    """Id of the upload that holds this original in this variant, of this user."""
    return f"{UPLOAD_OF_PREFIX}{user}:{sha256}:{variant}"


def idempotency(user: str, key: str) -> str:
    """Hash: the job that this user's Idempotency-Key made, and what it asked for."""
    return f"px1:idempotency:{user}:{hashlib.sha256(key.encode()).hexdigest()}"


def result(request_key: str) -> str:
    """JSON of a finished result, in the cache Redis."""
    return f"px1:result:{request_key}"


def place(content_key: str) -> str:
    """Where in S3 the result of a content key lies, in the cache Redis: see result_folder."""
    return f"px1:place:{content_key}"


def worker(node: str) -> str:
    """JSON of a live worker; expires."""
    return f"px1:worker:{node}"


def model(name: str) -> str:
    """JSON of a model that some worker has announced."""
    return f"px1:model:{name}"


def scratch(name: str) -> str:
    """One array between stages, in a Redis of its own."""
    return f"px1:scratch:{name}"


def stat(model: str, minute: int) -> str:
    """Counters of one model in one minute of Redis time."""
    return f"px1:stat:{model}:{minute}"


def probed() -> str:
    """JSON of what the latest probe found, for a second."""
    return "px1:probed"


def upload_object(user: str, upload_id: str) -> str:
    """S3 key of an upload's bytes."""
    return f"{UPLOADS}{user}/{upload_id}"


def result_folder(user: str, request_key: str) -> str:
    """S3 prefix of everything that came of one request: all editions of its result."""
    return f"{RESULTS}{user}/{request_key}/"


def edition_folder(user: str, request_key: str, made_s: int) -> str:
    """S3 prefix of one edition of a result: new at every call, so that nothing is overwritten.

    `made_s`: when it is made, in seconds since 1970. A listing shows older editions first.
    """
    return f"{result_folder(user, request_key)}{made_s:010}-{secrets.token_hex(4)}/"


def edition_made_s(key: str) -> int:
    """When the edition that this S3 key belongs to was made, in seconds since 1970; 0: of none."""
    found = _EDITION.match(key)
    return int(found[1]) if found else 0


def weights_object(sha256: str, name: str) -> str:
    """S3 key of a file of converted weights."""
    return f"{WEIGHTS}{sha256}/{name}"


def request_key(
    secret: str,
    owner: str,
    *,
    image: str,
    model: str,
    weights: str,
    code: str,
    params: Mapping[str, object],
    output: Sequence[str],
) -> str:
    """64 hex digits that are equal exactly for equal work of one owner.

    `image` names the bytes: what the client claims of them. A secret keyed hash, so that nobody who
    holds a picture can work out whether another user has sent it.
    """
    parts = [owner, image, model, weights, code, params, sorted(output)]
    return _mac(secret, parts)


def content_key(
    secret: str,
    scope: str,
    *,
    sha256: str,
    model: str,
    weights: str,
    code: str,
    params: Mapping[str, object],
    output: Sequence[str],
) -> str:
    """64 hex digits that are equal exactly for equal work on equal bytes within `scope`.

    `sha256` is of the bytes really read; `scope` a user, or empty for the whole installation.
    """
    parts = ["content", scope, sha256, model, weights, code, params, sorted(output)]
    return _mac(secret, parts)


def _mac(secret: str, parts: Sequence[object]) -> str:
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hmac.new(secret.encode(), canonical.encode(), hashlib.sha256).hexdigest()
