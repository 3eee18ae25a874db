"""Every Redis key, built here and nowhere else, so that none can collide."""

import hashlib

LAYOUT = 3
"""Version of the layout of all records in Redis; it is part of every key."""
PREFIX = f"px{LAYOUT}:"
OLD_LAYOUTS = tuple(
    f"px{layout}:{name}"
    for layout in range(1, LAYOUT)
    for name in ("prepared", "since", "models", "seen")
)
"""Keys that every Redis in use has had under an earlier layout: see schema.py."""
CELERY_PRIORITIES = (0, 3, 6, 9)
"""Priority steps of kombu's Redis transport, which has one list for each."""

BROKER_PREFIX = f"{PREFIX}q:"
JOB_PREFIX = f"{PREFIX}job:"
RUN_PREFIX = f"{PREFIX}run:"
RUN_JOBS_PREFIX = f"{PREFIX}run-jobs:"
RUN_EVENTS_PREFIX = f"{PREFIX}run-events:"
POSITIONS_PREFIX = f"{PREFIX}positions:"
METRICS_PREFIX = f"{PREFIX}metrics:"
WAITING_PREFIX = f"{PREFIX}waiting:"
MEAN_STAGE_MS_PREFIX = f"{PREFIX}mean-stage-ms:"
USER_RUNS_PREFIX = f"{PREFIX}user-runs:"
USER_JOBS_PREFIX = f"{PREFIX}user-jobs:"
RESULT_JOBS_PREFIX = f"{PREFIX}result-jobs:"
UPLOAD_JOBS_PREFIX = f"{PREFIX}upload-jobs:"
UPLOAD_PREFIX = f"{PREFIX}upload:"
UPLOAD_OF_PREFIX = f"{PREFIX}upload-of:"
API_KEY_PREFIX = f"{PREFIX}key:"
SHARE_PREFIX = f"{PREFIX}share:"
USER_SHARES_PREFIX = f"{PREFIX}user-shares:"
USER_KEYS_PREFIX = f"{PREFIX}user-keys:"
USER_PREFIX = f"{PREFIX}user:"
WORKER_PREFIX = f"{PREFIX}worker:"
MODEL_PREFIX = f"{PREFIX}model:"
MODEL_VERSIONS_PREFIX = f"{PREFIX}model-versions:"

ACTIVE = f"{PREFIX}active"
"""Sorted set of the request keys of runs under way, by time of their claim."""
REAPER_LOCK = f"{PREFIX}reaper-lock"
"""Lock: one web process at a time looks for lost runs."""
EXPIRY_LOCK = f"{PREFIX}expiry-lock"
"""Lock: one web process at a time deletes expired objects."""
ERASURES = f"{PREFIX}erasures"
"""Hash: user whose data are being erased -> 1 if the account goes too, else 0."""
ERASED = f"{PREFIX}erased"
"""Sorted set of users whose data were erased lately, by when S3 has to be looked at once more."""
ERASURE_LOCK = f"{PREFIX}erasure-lock"
"""Lock: the name of the one process that erases now."""
EXPIRY_PROGRESS = f"{PREFIX}expiry-progress"
"""Hash: S3 prefix -> key up to which expired objects have been deleted in this round."""
HISTORIES = f"{PREFIX}histories"
"""Sorted set of the users who have a list of jobs, by when its oldest entry may expire, in ms."""
DEADLINES = f"{PREFIX}deadlines"
"""Sorted set of job ids by when they expire, in ms; some of them have ended long ago."""
KEEP_ALIVES = f"{PREFIX}keep-alives"
"""Sorted set of the ids of jobs that live only while somebody looks, by until when, in ms."""
UNNEEDED_UPLOADS = f"{PREFIX}unneeded-uploads"
"""Set of `<user>:<upload>`: uploads of volumes that are to be deleted, as their runs have ended."""
CANCELLED = f"{PREFIX}cancelled"
"""Channel: `request key:attempt` of runs under way that no job waits for any more."""
SINCE = f"{PREFIX}since"
"""In both Redis: since when it has been in use, in ms."""
RUN_EVENTS = f"{RUN_EVENTS_PREFIX}*"
"""Pattern of the channels of all runs."""
EVENTS_OF_SEVERAL = f"{RUN_EVENTS_PREFIX}several"
"""Channel on which a change of several runs is published once, with their request keys."""
USER_EVENTS = f"{USER_JOBS_PREFIX}*"
"""Pattern of the channels of all users."""
AUDIT = f"{PREFIX}audit"
"""Stream of what users did, and from where: see audit.py."""
AUDIT_OF_STRANGERS = f"{PREFIX}audit-of-strangers"
"""The same of visitors of open mode, and of whoever could not sign in."""
PILOT = f"{PREFIX}pilot"
"""Hash: `pause`, and what the pilot has ordered of each model, as JSON: see pilot.py."""
PILOT_VIEWS = f"{PREFIX}pilot-views"
"""Hash: model -> what the pilot saw of it last, as JSON."""
PILOT_LOG = f"{PREFIX}pilot-log"
"""Stream of the pilot's decisions."""
PILOT_LEADER = f"{PREFIX}pilot-leader"
"""Lock: one web process at a time is the pilot; the value is its name."""
PROBE = f"{PREFIX}probe"
"""Written to find out whether the state Redis takes writes."""
PREPARED = f"{PREFIX}prepared"
"""Set when bucket and first account were made: without it the state Redis has lost everything."""
WORKERS = f"{PREFIX}workers"
"""Sorted set of live workers, by when their announcement expires, in ms."""
MODELS = f"{PREFIX}models"
"""Set of the names of all models that some worker has announced."""
SEEN = f"{PREFIX}seen"
"""Hash: queue -> when a worker was last seen that takes work from it, in ms."""


def queue(name: str, celery_priority: int) -> str:
    """List of the messages of one priority in a queue of the broker, as kombu names it."""
    return BROKER_PREFIX + name + priority_suffix(celery_priority)


def priority_suffix(celery_priority: int) -> str:
    """End of the name of such a list."""
    return f"\x06\x16{celery_priority}" if celery_priority else ""


def job(job_id: str) -> str:
    """Hash of one job."""
    return JOB_PREFIX + job_id


def run(request_key: str) -> str:
    """Hash of the run that computes `request_key`."""
    return RUN_PREFIX + request_key


def run_jobs(request_key: str) -> str:
    """Set of the ids of the jobs that wait for this run."""
    return RUN_JOBS_PREFIX + request_key


def run_events(request_key: str) -> str:
    """Channel on which every change of this run is published."""
    return RUN_EVENTS_PREFIX + request_key


def positions(queue: str, priority: str) -> str:
    """Hash of one priority of a stage's queue: numbers taken (`next`), the highest `started`."""
    return f"{POSITIONS_PREFIX}{queue}:{priority}"


def waiting(variant: str, priority: str) -> str:
    """Sorted set of the runs (keys of their hashes) that have yet to go through their model, by
    their start tags (shared_lua/fair.lua).

    `variant`: the model, or model:profile where that has a cost of its own.
    """
    return f"{WAITING_PREFIX}{variant}:{priority}"


def mean_stage_ms(model: str) -> str:
    """Hash: moving means of ms per run of the cpu stages; `inferred`: when its last batch ended."""
    return MEAN_STAGE_MS_PREFIX + model


def user_runs(user: str) -> str:
    """Sorted set of a user's runs under way (keys of their hashes), by time of claim."""
    return f"{USER_RUNS_PREFIX}{user}"


def user_jobs(user: str) -> str:
    """Sorted set of a user's job ids by time of creation, in ms.

    And the channel on which the id of each new job that has to wait is published.
    """
    return USER_JOBS_PREFIX + user


def result_jobs(request_key: str) -> str:
    """Sorted set of the ids of the jobs that need a result, by when their records expire (ms)."""
    return f"{RESULT_JOBS_PREFIX}{request_key}"


def upload_jobs(user: str, upload_id: str) -> str:
    """Sorted set of the ids of the jobs that need an upload, by when their records expire (ms)."""
    return f"{UPLOAD_JOBS_PREFIX}{user}:{upload_id}"


def user(name: str) -> str:
    """Hash of a user: role, password hash, epoch of the sessions, whether it is disabled."""
    return USER_PREFIX + name


def session(user: str, session_id: str) -> str:
    """Hash of one session: a browser that a user has signed in on; expires."""
    return f"{PREFIX}web-session:{user}:{session_id}"


def sessions(user: str) -> str:
    """Sorted set of the ids of a user's sessions, by when they began, in ms."""
    return f"{PREFIX}web-sessions:{user}"


def oidc_sign_in(state: str) -> str:
    """JSON of a sign-in on its way to the OpenID provider and back; only a hash of its state."""
    return f"{PREFIX}oidc:{hashlib.sha256(state.encode()).hexdigest()}"


def sign_in_tries(counted_for: str) -> str:
    """Hash: wrong sign-ins of an account, an address or a browser, and when the next is allowed."""
    return f"{PREFIX}sign-in-tries:{counted_for}"


def api_key(secret: str) -> str:
    """Hash of an API key, which is known by its SHA-256 alone."""
    return API_KEY_PREFIX + hashlib.sha256(secret.encode()).hexdigest()


def user_keys(user: str) -> str:
    """Hash: id of an API key of this user -> the key's SHA-256."""
    return USER_KEYS_PREFIX + user


def share(share_id: str) -> str:
    """Hash of one link to a picture."""
    return SHARE_PREFIX + share_id


def user_shares(user: str) -> str:
    """Sorted set of the ids of a user's links, by when they expire, in ms."""
    return USER_SHARES_PREFIX + user


def upload(user: str, upload_id: str) -> str:
    """Hash of one upload."""
    return f"{UPLOAD_PREFIX}{user}:{upload_id}"


def upload_of(user: str, sha256: str, variant: str) -> str:
    """Id of the upload that holds this original in this variant, of this user."""
    return f"{UPLOAD_OF_PREFIX}{user}:{sha256}:{variant}"


def idempotency(user: str, key: str) -> str:
    """Hash: the job that this user's Idempotency-Key made, and what it asked for."""
    return f"{PREFIX}idempotency:{user}:{hashlib.sha256(key.encode()).hexdigest()}"


def session_events(user: str, session: str) -> str:
    """Hash: what a session of Gradio's client has asked for and was not told the end of yet."""
    return f"{PREFIX}session:{user}:{session}"


def result(request_key: str) -> str:
    """JSON of a finished result, in the cache Redis."""
    return f"{PREFIX}result:{request_key}"


def result_location(content_key: str) -> str:
    """Where in S3 the result of a content key lies, in the cache Redis: see result_folder."""
    return f"{PREFIX}result-location:{content_key}"


def worker(node: str) -> str:
    """JSON of a live worker; expires."""
    return WORKER_PREFIX + node


def model(name: str) -> str:
    """JSON of a model that some worker has announced."""
    return MODEL_PREFIX + name


def model_versions(name: str) -> str:
    """Hash: version of a model -> JSON of its card; `since:<version>`, `seen:<version>`: when it
    was first and last seen, in ms."""
    return MODEL_VERSIONS_PREFIX + name


def scratch(name: str) -> str:
    """One array between stages, in a Redis of its own."""
    return f"{PREFIX}scratch:{name}"


def probed() -> str:
    """JSON of what the latest probe found, for a second."""
    return f"{PREFIX}probed"
