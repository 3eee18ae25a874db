"""Gives a job its run: an answer that is known, a run under way, or a new one."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from storage import keys
from storage.jobs import bounds
from storage.jobs.queueing import Tickets, of_tickets
from storage.jobs.spec import VERSION, RunRef, Spec
from storage.quota_kinds import Name
from storage.quotas import NO_QUOTAS, Allowance, Use, allowances
from storage.redis.answers import text
from storage.redis.calls import ARRAY, NUMBER, Call, command, script

Verdict = Literal["hit", "failed", "join", "start", "busy", "again", "mismatch"]


@dataclass(frozen=True)
class Claim:
    """What became of a job that asked for a run."""

    verdict: Verdict
    """`hit`, `failed`: the answer is known. `join`: an equal run is under way. `start`: the job has
    a run of its own, which its process brings into the backlog, unless it was `ready`. `busy`:
    refused. `again`: the idempotency key was used before, `mismatch`: and for another request."""
    attempt: int
    payload: str
    """JSON of the result (hit), the error (failed) or the Refusal (busy); a job id (again,
    mismatch). For join the id of the upload whose bytes the process of the starter may
    still be bringing; empty once the run is queued."""
    at_ms: float
    """Redis time."""
    allowances: Sequence[Allowance] = ()
    """What is left of each quota; only of a new run."""


@dataclass(frozen=True)
class RunCost:
    """What runs of one variant cost the runs that come after them: n in a batch take a + b*n ms."""

    a_ms: float
    b_ms: float
    max_batch: int
    cpu_ms: float
    """Per run, of all cpu workers together."""


@dataclass(frozen=True)
class Limits:
    """What a new run must stay within, or it is refused."""

    in_flight: int
    """Runs of its payer that are under way, of all models and priorities; 0 for no limit. A quota
    of the payer's own replaces it."""
    waiting: int
    """Runs of its priority that have yet to go through their model."""
    wait_ms: float
    """Estimated time until its turn."""
    costs: Mapping[str, RunCost]
    """Variant -> what its runs cost the new one."""
    scratch: tuple[int, int] = (0, 0)
    """Bytes of arrays between stages, and how many there may be; 0 for no limit."""
    scratch_needed: int = 0
    """Bytes of arrays that the run itself will have, if they are many."""
    joined: int = 2**31
    """Jobs that wait for one run."""
    of_model: int = 0
    """Runs of its model that have yet to go through it; 0 for no limit."""


NO_LIMITS = Limits(in_flight=2**31, waiting=2**31, wait_ms=2**31, costs={})


@dataclass(frozen=True)
class Flow:
    """Whose part of the workers a run uses, and how much of it."""

    name: str = ""
    """Runs of one name are served in order. Empty: a hash of the user; the user's own name would
    stay for up to an hour after an erasure."""
    charge: float = 1.0
    """The run's cost, as a multiple of that of the model's first profile, divided by the weight of
    the flow."""


@dataclass(frozen=True)
class Ready:
    """What a run needs that can go into the backlog at once."""

    preprocess_ms: float
    """How long its first stage takes, about."""
    tickets: Tickets


@dataclass(frozen=True)
class Refusal:
    """Why a claim found the system busy."""

    limit: Literal["in_flight", "waiting", "wait_ms", "scratch", "joined", "of_model"] | Name
    """The field of Limits, or the quota, that the run would exceed."""
    value: float
    """Its present value."""
    room_in_ms: float
    """Estimated time until there is room."""
    most: float = 0
    """The limit itself, where no setting gives it."""


def refusal(claim: Claim) -> Refusal:
    """The refusal in a busy claim."""
    return Refusal(**json.loads(claim.payload))


def claim(
    job_id: str,
    spec: Spec,
    *,
    priority: str,
    job_ttl_s: int,
    variant: str = "",
    limits: Limits = NO_LIMITS,
    known_result: str = "",
    deadline_s: float = bounds.DEADLINE_S,
    keep: bool = True,
    idempotency: tuple[str, str] | None = None,
    flow: Flow = Flow(),
    ready: Ready | None = None,
    use: Use | None = None,
    name: str = "",
    degraded: str = "",
    asked_model: str = "",
    most_jobs: int = 2**31,
    discards: bool = False,
) -> Call[Claim]:
    """Write the job's record and give it a run: one atomic round trip.

    `variant`: the entry of the limits' costs that the run counts as. `known_result`: its JSON; the
    claim is a hit. `keep` False: the job lives while somebody looks at it. `idempotency`: (key,
    digest of what is asked for). `ready`: the bytes are stored. `use`: what a run uses of quotas.
    `degraded`: why something lighter computes it. `asked_model`: that another model computes for.
    `discards`: uploads go when the run ends.
    """
    names = _names(job_id, spec, variant or spec.model, priority, use.payer if use else spec.user)
    values: dict[str, Any] = {
        **_of_spec(spec),
        **_of_known(known_result),
        **_TTLS,
        "job_id": job_id,
        "name": name,
        "degraded": degraded,
        "asked_model": asked_model,
        "variant": variant or spec.model,
        "priority": priority,
        "most_jobs": most_jobs,
        "deadline_ms": deadline_s * 1000,
        "job_ttl_ms": job_ttl_s * 1000,
        "keep": int(keep),
        "discards": int(discards),
    }
    if not known_result:  # nothing of this is needed for a hit
        values |= _of_new_run(spec, limits, use or Use(spec.user, NO_QUOTAS))
        values |= _of_backlog(spec, flow, ready)
    if idempotency:
        key, values["idempotency"] = idempotency
        names.append(keys.idempotency(spec.user, key))
    return script("jobs/claim", _claim, names, values, kinds=ARRAY)


_TTLS = {"metrics_ttl_ms": bounds.METRICS_TTL_MS, "idempotency_ttl_ms": bounds.IDEMPOTENCY_MS}
"""Of what every claim writes."""


def _of_known(result: str) -> dict[str, Any]:
    made_s = orjson.loads(result).get("made_s", 0) if result else 0
    return {"known_result": result.encode(), "known_made_s": made_s}


def _names(job_id: str, spec: Spec, variant: str, priority: str, payer: str) -> list[str]:
    return [
        keys.run(spec.request_key),
        keys.run_jobs(spec.request_key),
        keys.job(job_id),
        keys.user_jobs(spec.user),
        keys.user_runs(payer),
        keys.waiting(variant, priority),
        keys.upload(spec.user, spec.upload),
    ]


def _of_spec(spec: Spec) -> dict[str, Any]:
    return {
        "version": VERSION,
        "user": spec.user,
        "model": spec.model,
        "request_key": spec.request_key,
        "params": orjson.dumps(spec.params),
        "weights": spec.weights,
        "upload": spec.upload,
        "original": spec.image if ":" in spec.image else "",
    }


def _of_new_run(spec: Spec, limits: Limits, use: Use) -> dict[str, Any]:
    used = use.arguments()
    used["quotas"] = {**used["quotas"], "jobs_in_flight": limits.in_flight}
    return {
        **used,
        "spec": spec.to_json(),
        "model_version": spec.model_version,
        "limits": limits,
        "lease_ms": bounds.LEASE_MS,
        "run_ttl_ms": bounds.RUN_TTL_MS,
        "negative_ttl_ms": bounds.NEGATIVE_TTL_MS,
        "keep_alive_ms": bounds.KEEP_ALIVE_MS,
    }


def _of_backlog(spec: Spec, flow: Flow, ready: Ready | None) -> dict[str, Any]:
    values = {"flow": flow.name or _hash(spec.user), "charge": flow.charge}
    if ready is None:
        return values
    return values | {"preprocess_ms": ready.preprocess_ms} | of_tickets(ready.tickets)


def _hash(user: str) -> str:
    return hashlib.sha256(user.encode()).hexdigest()[:24]


def _claim(answer: Sequence[Any]) -> Claim:
    verdict, attempt, payload, at_ms, *left = answer
    of_quotas = allowances(left) if left else ()
    return Claim(text(verdict), int(attempt), text(payload), float(at_ms), of_quotas)


def replace_upload(ref: RunRef, spec: Spec, job_id: str) -> Call[bool]:
    """Let a run that is not queued yet compute from the upload in this spec of the same work, which
    this job brought.

    False if the run is stale, or queued already with another upload.
    """
    values = {
        "key": ref.key,
        "attempt": ref.attempt,
        "spec": spec.to_json(),
        "upload": spec.upload,
        "user": spec.user,
        "job_id": job_id,
    }
    return script("jobs/replace_upload", bool, [], values, kinds=NUMBER)


def forget_idempotency_key(user: str, key: str) -> Call[Any]:
    """Let a request with this Idempotency-Key be tried again."""
    words = ("DEL", keys.idempotency(user, key))
    return command(lambda answer: answer, *words, kinds=NUMBER)
