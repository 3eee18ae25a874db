"""Uploads, jobs and runs in Redis: what was asked for, what is being computed, what came of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Generic, Literal, TypeVar

import orjson

from storage import keys
from storage.redis.calls import (
    ARRAY,
    FIELDS,
    MAYBE_ARRAY,
    MAYBE_TEXT,
    NUMBER,
    TEXT,
    Call,
    Word,
    command,
    script,
)

VERSION = 1
"""Of records and messages; a process refuses a newer one than it knows."""
DEADLINE_S = 120.0
LEASE_MS = 30_000
GRACE_MS = 3_000
"""How long a run must look lost before it is taken for lost."""
RUN_TTL_MS = 3_600_000
MAX_HAND_BACKS = 20
"""Each costs GRACE_MS or a little more: so long, a minute at least, an upgrade is waited for."""
NEGATIVE_TTL_MS = 600_000
STAT_TTL_MS = 2 * 86_400_000
ENDED = frozenset({"done", "failed", "cancelled"})

INTEREST_MS = 30_000
"""How long a job with keep=false lives after the last look at it."""
IDEMPOTENCY_MS = 86_400_000
ERASE = 2
"""Answer of a run that ends after its only job was deleted."""
LATER = 3
"""Answer of a run that has not ended yet, as others with many jobs ended in the same script."""

MOST_LOOKED_AT = 250
"""Runs or entries that one script looks at. Redis serves nobody meanwhile: 20 ms is the limit."""
MOST_EXPIRED = 12
"""Jobs that one script ends because their time is over."""
MOST_LED = 1
"""Runs that one script leads again, each with its jobs."""

T = TypeVar("T")
Verdict = Literal["hit", "failed", "join", "lead", "busy", "again", "mismatch"]


@dataclass(frozen=True)
class Spec:
    """What a run computes: everything a stage needs to know, written once by the leader."""

    request_key: str
    user: str
    model: str
    params: Mapping[str, Any]
    output: Sequence[str]
    upload: str
    """Upload id; its bytes lie at keys.upload_object(user, upload)."""
    weights: str
    code: str
    body_sha256: str = ""
    """What the bytes must hash to, when the client declared it."""
    etag: str = ""
    image: str = ""
    """What the request key knows the image by; see keys.request_key."""

    def to_json(self) -> str:
        """For the run's hash."""
        return json.dumps({"v": VERSION, **self.__dict__}, separators=(",", ":"))


class NewerVersion(ValueError):
    """A newer Pixelmill than this wrote it."""


def spec_from_json(text: str) -> Spec:
    """The spec in a run's hash; NewerVersion if this process does not know all that is in it."""
    fields = json.loads(text)
    if fields.pop("v") > VERSION or not fields.keys() <= Spec.__dataclass_fields__.keys():
        raise NewerVersion("this run was written by a newer version of Pixelmill")
    return Spec(**fields)


@dataclass(frozen=True)
class Claim:
    """What became of a job that asked for a run."""

    verdict: Verdict
    number: int
    """Run number."""
    payload: str
    """JSON of the result (hit), the error (failed) or the Refusal (busy); the spec (lead); a job id
    (again, mismatch). For join the id of the upload whose bytes the leader may still be bringing;
    empty once the run is queued."""
    at_ms: float
    """Redis time."""


@dataclass(frozen=True)
class Load:
    """What runs of a variant cost others that come after: n in a batch take a + b*n ms."""

    a_ms: float
    b_ms: float
    max_batch: int
    cpu_ms: float
    """Per run, of all cpu workers together."""


@dataclass(frozen=True)
class Limits:
    """What a new run must stay within, or it is refused."""

    in_flight: int
    """Runs of its user that are under way, of all models and priorities."""
    waiting: int
    """Runs of its priority that have yet to go through their model."""
    wait_ms: float
    """Estimated time until its turn."""
    loads: Mapping[str, Load]
    scratch: tuple[int, int] = (0, 0)
    """Bytes of arrays between stages, and how many there may be; 0 for no limit."""
    joined: int = 2**31
    """Jobs that wait for one run."""

    def to_json(self) -> str:
        """For claim.lua."""
        return json.dumps({**self.__dict__, "loads": _plain(self.loads)})


NO_LIMITS = Limits(in_flight=2**31, waiting=2**31, wait_ms=2**31, loads={})


@dataclass(frozen=True)
class Refusal:
    """Why a claim found the system busy."""

    limit: Literal["in_flight", "waiting", "wait_ms", "scratch", "joined"]
    """The field of Limits that it would exceed."""
    value: float
    """Where that stands now."""
    room_in_ms: float
    """Estimated time until there is room."""
    most: float = 0
    """What it may be, where no setting says that."""


def refusal(claim: Claim) -> Refusal:
    """The refusal in a busy claim."""
    return Refusal(**json.loads(claim.payload))


@dataclass(slots=True)  # frozen costs four times as much to make, and each change makes one
class View:
    """A job as Redis has it, with the run's present state while it is under way."""

    fields: Mapping[str, str]
    run: Mapping[str, str] = field(default_factory=dict)
    ahead: int = -1
    """Runs that go through the model before this one; negative once it has been through itself."""
    wait_ms: float = 0
    """Estimated time that those take."""
    busy_ms: float = 0
    """How much of that has passed: time that the model has been at its present batch."""
    stage_ms: float = -1
    """How long the present stage has run; negative while the run waits for one."""
    shown: dict[str, bytes] = field(default_factory=dict, compare=False, repr=False)
    """What a web process has made of it for those who look on, by their origin."""

    @property
    def state(self) -> str:
        """The job's own end state, else the run's."""
        own = self.fields["state"]
        return own if own in ENDED else self.run.get("state") or own

    @property
    def version(self) -> int:
        """Grows with every change; an ended job answers a number above all of its run's."""
        if self.fields["state"] in ENDED:
            return int(self.fields.get("n") or 0) * 1000 + 999
        return int(self.run.get("version") or 0)


def claim(
    job_id: str,
    spec: Spec,
    *,
    priority: str,
    job_ttl_s: int,
    variant: str = "",
    limits: Limits = NO_LIMITS,
    known_result: str = "",
    deadline_s: float = DEADLINE_S,
    keep: bool = True,
    idempotency: tuple[str, str] | None = None,
    fields: Mapping[str, Word] | None = None,
) -> Call[Claim]:
    """Write the job's record and give it a run: one atomic round trip.

    `variant`: as what its run is reckoned in `limits`, else as its model. `keep` False: it lives
    only while somebody looks. `idempotency`: (key, what is asked for).
    """
    key, variant = spec.request_key, variant or spec.model
    job: dict[str, Word] = {
        "v": VERSION,
        "user": spec.user,
        "model": spec.model,
        "request_key": key,
        "params": json.dumps(dict(spec.params)),
        "weights": spec.weights,
        "priority": priority,
        "keep": int(keep),
        **(fields or {}),
    }
    return script(
        "claim",
        lambda answer: Claim(_text(answer[0]), int(answer[1]), _text(answer[2]), float(answer[3])),
        [
            keys.run(key),
            keys.run_jobs(key),
            keys.job(job_id),
            keys.positions("cpu", priority),
            keys.user_jobs(spec.user),
            keys.ACTIVE,
            keys.user_runs(spec.user),
            keys.idempotency(spec.user, idempotency[0]) if idempotency else "",
            keys.DEADLINES,
            keys.INTERESTS,
            keys.waiting(variant, priority),
            keys.upload(spec.user, spec.upload),
            keys.HISTORIES,
        ],
        [
            job_id,
            LEASE_MS,
            limits.to_json(),
            job_ttl_s * 1000,
            RUN_TTL_MS,
            NEGATIVE_TTL_MS,
            known_result,
            spec.to_json(),
            spec.user,
            priority,
            spec.model,
            keys.run_events(key),
            key,
            keys.POSITIONS_PREFIX,
            keys.WAITING_PREFIX,
            deadline_s * 1000,
            "" if keep else INTEREST_MS,
            idempotency[1] if idempotency else "",
            IDEMPOTENCY_MS,
            keys.JOB_PREFIX,
            keys.STAT_PREFIX,
            STAT_TTL_MS,
            variant,
            keys.RESULT_JOBS_PREFIX,
            keys.upload_jobs(spec.user, ""),
            spec.upload,
            *_flat(job),
        ],
        kinds=ARRAY,
    )


@dataclass(frozen=True)
class RunRef:
    """One run of a message: which, and which attempt at it."""

    key: str
    n: int


@dataclass(frozen=True)
class EncodedMessage:
    """A message of the broker, ready to be queued."""

    queue: str
    """The Redis list it goes into."""
    text: bytes


def post(letters: Sequence[EncodedMessage]) -> Call[Any]:
    """Queue messages: all or none."""
    lists, texts = [letter.queue for letter in letters], [letter.text for letter in letters]
    return script("post", lambda answer: answer, lists, texts, kinds=NUMBER)


def send(letter: EncodedMessage, refs: Sequence[RunRef]) -> Call[int]:
    """Queue the message of runs that were just claimed; 0 if somebody has done so before.

    Else how many messages its list has now, this one included.

    Until then a run is its leader's, who may be bringing the bytes, for as long as the lease.
    """
    names = [letter.queue, *(keys.run(ref.key) for ref in refs)]
    return script("send", int, names, [letter.text, *(ref.n for ref in refs)], kinds=NUMBER)


def take_up(ref: RunRef, spec: Spec, job_id: str) -> Call[bool]:
    """Let a run that is not queued yet compute from the upload in this spec of the same work, which
    this job brought.

    False if it is stale or queued already, from another upload.
    """
    asked = {
        "n": ref.n,
        "spec": spec.to_json(),
        "upload": spec.upload,
        "id": job_id,
        "job": keys.JOB_PREFIX,
        "upload_jobs": keys.upload_jobs(spec.user, ""),
    }
    names = [keys.run(ref.key), keys.run_jobs(ref.key)]
    return script("take_up", bool, names, [json.dumps(asked)], kinds=NUMBER)


@dataclass(frozen=True)
class Touched:
    """What a run answered to a stage."""

    deliveries: int
    """How often this stage was started; not above 0: the stage leaves the run alone."""
    spec: str
    restarts: int = 0
    """How often the run has begun anew because an array was gone."""

    @property
    def is_live(self) -> bool:
        """Whether the run is this stage's to work on."""
        return self.deliveries > 0

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended: what is kept for it can go."""
        return self.deliveries < 0


def touch(
    event: Literal["start", "renew", "end"],
    refs: Sequence[RunRef],
    *,
    stage: str,
    state: str,
    progress: float,
    model: str,
    line: str,
    priority: str,
    next_line: str = "",
    next_queue: str = "",
    letter: EncodedMessage | None = None,
    job_ttl_s: int = 0,
    expired: str = "",
) -> Call[list[Touched]]:
    """Say that a stage starts, goes on or has ended for these runs; renews their leases.

    `end` queues the letter for the next stage in the same step, unless all runs are stale.
    `expired` is the error JSON of a run whose deadline is over when a stage starts.
    """
    names = [
        keys.positions(line, priority),
        keys.positions(next_line or line, priority),
        letter.queue if letter else "",
        keys.pace(model),
    ]
    for ref in refs:
        names += [keys.run(ref.key), keys.run_events(ref.key)]
    attempts = [word for ref in refs for word in (ref.key, ref.n)]
    return script(
        "touch",
        lambda answers: [
            Touched(int(count), _text(spec), int(*restarts)) for count, spec, *restarts in answers
        ],
        names,
        [
            event,
            stage,
            state,
            progress,
            LEASE_MS,
            next_queue if event == "end" else "",
            next_line,
            letter.text if letter else "",
            ending(job_ttl_s),
            expired,
            *attempts,
        ],
        kinds=ARRAY,
    )


@dataclass(frozen=True)
class End:
    """How a run ended."""

    ref: RunRef
    state: Literal["done", "failed"]
    payload: str
    """JSON: the result, or the error."""
    lasting: bool = False
    """A failure that the same bytes would meet again: remembered for ten minutes."""


def finish(ends: Sequence[End], *, job_ttl_s: int) -> Call[list[int]]:
    """End these runs and the jobs that wait for them.

    Answers 1 per run, 0 for one whose number is stale, ERASE if its result has to go, LATER if it
    is to be asked for again.
    """
    args: list[Word] = [ending(job_ttl_s)]
    for end in ends:
        args += [end.ref.key, end.ref.n, end.state, end.payload, int(end.lasting)]
    return script("finish", lambda answers: [int(done) for done in answers], [], args, kinds=ARRAY)


def owner(request_key: str) -> Call[tuple[str, str] | None]:
    """The user whose run this is, and the request key that its result lies under."""

    def parse(found: Sequence[Any]) -> tuple[str, str] | None:
        user, moved_to = (_optional(word) for word in found)
        return (user, moved_to or request_key) if user else None

    return command(parse, "HMGET", keys.run(request_key), "user", "result_key", kinds=ARRAY)


@cache
def ending(job_ttl_s: int) -> str:
    """What scripts that end runs need to know, as JSON: see lua/ending.lua."""
    return json.dumps(
        {
            "active": keys.ACTIVE,
            "deadlines": keys.DEADLINES,
            "interests": keys.INTERESTS,
            "job": keys.JOB_PREFIX,
            "job_ttl": job_ttl_s * 1000,
            "positions": keys.POSITIONS_PREFIX,
            "pace": keys.PACE_PREFIX,
            "result_jobs": keys.RESULT_JOBS_PREFIX,
            "run": keys.run(""),
            "run_events": keys.run_events(""),
            "run_jobs": keys.run_jobs(""),
            "run_ttl": RUN_TTL_MS,
            "stat": keys.STAT_PREFIX,
            "stat_ttl": STAT_TTL_MS,
            "unwanted": keys.UNWANTED,
            "upload_jobs": keys.UPLOAD_JOBS_PREFIX,
            "upload_of": keys.UPLOAD_OF_PREFIX,
            "user_jobs": keys.user_jobs(""),
            "user_runs": keys.USER_RUNS_PREFIX,
            "waiting": keys.WAITING_PREFIX,
        }
    )


def cancel(job_id: str, user: str, *, job_ttl_s: int) -> Call[str | None]:
    """Take a job away from its run; answers the job's state, None if this user has none such.

    `cancelling`: a stage is at it, and the worker has not confirmed yet.
    """
    return script("cancel", _optional, [], [ending(job_ttl_s), job_id, user], kinds=MAYBE_TEXT)


def expire(error: str, *, job_ttl_s: int, most: int = MOST_EXPIRED) -> Call[int]:
    """Let jobs go whose deadline is over, with this error JSON, or that nobody looks at.

    Answers how many there were: `most` means that there may be more.
    """
    asked = _with_names(job_ttl_s, error=error, most=most)
    return script("expire", int, [], [asked], kinds=NUMBER)


def trim(*, job_ttl_s: int, most: int = MOST_LOOKED_AT) -> Call[int]:
    """Remove expired jobs from the histories of users.

    Answers how many entries were looked at: `most` or more means that there may be more.
    """
    asked = {
        "user_jobs": keys.user_jobs(""),
        "job": keys.JOB_PREFIX,
        "job_ttl": job_ttl_s * 1000,
        "most": most,
        "pause_ms": min(60_000, job_ttl_s * 1000),
    }
    return script("trim", int, [keys.HISTORIES], [json.dumps(asked)], kinds=NUMBER)


@dataclass(frozen=True)
class Deleted:
    """What a deleted job leaves to be removed."""

    request_key: str
    """That its result lies under."""
    has_free_result: bool
    """Whether no other job of the user needs that result."""
    free_uploads: Sequence[str]
    """Ids of the uploads that no other job of the user needs."""


def delete(job_id: str, user: str, *, job_ttl_s: int) -> Call[Deleted | None]:
    """Cancel a job if need be and forget it; None if this user has none such."""

    def parse(found: Any) -> Deleted | None:
        if found is None:
            return None
        return Deleted(_text(found[0]), _text(found[1]) == "1", [_text(one) for one in found[2]])

    asked = _with_names(job_ttl_s, job=job_id, user=user, upload=keys.upload(user, ""))
    return script("delete", parse, [], [asked], kinds=MAYBE_ARRAY)


def _with_names(job_ttl_s: int, **asked: Any) -> str:
    """The one argument of a script that ends runs, as JSON."""
    return f'{{"names":{ending(job_ttl_s)},{json.dumps(asked)[1:]}'


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some of the runs under way, as one script looks at them."""

    items: Sequence[T]
    after: str
    """Where the next page begins; empty after the last one."""


@dataclass(frozen=True)
class Lost:
    """A run whose message or worker is gone."""

    ref: RunRef
    model: str
    priority: str
    spec: str


def under_way(after: str = "", most: int = MOST_LOOKED_AT) -> Call[Page[tuple[str, int]]]:
    """Request key and number of the runs that have not ended, a page at a time."""

    def parse(answer: Sequence[Any]) -> Page[tuple[str, int]]:
        next_after, *words = (_text(word) for word in answer)
        pairs = zip(words[::2], map(int, words[1::2]), strict=True)
        return Page(list(pairs), next_after)

    asked = json.dumps({"run": keys.run(""), "after": after, "most": most})
    return script("under_way", parse, [keys.ACTIVE], [asked], kinds=ARRAY)


def find_lost(
    *, every_ms: int, grace_ms: int = GRACE_MS, after: str = "", most: int = MOST_LOOKED_AT
) -> Call[Page[Lost]]:
    """Runs that look lost and have done so for a while, a page of runs at a time.

    An empty last page if another process looks.
    """

    def parse(answer: Sequence[Any]) -> Page[Lost]:
        found = [
            Lost(RunRef(_text(name), int(n)), _text(model), _text(priority), _text(spec))
            for name, n, model, priority, spec in answer[1:]
        ]
        return Page(found, _text(answer[0]))

    asked = {
        "lock_ms": every_ms,
        "lease_ms": LEASE_MS,
        "grace_ms": grace_ms,
        "run": keys.run(""),
        "positions": keys.POSITIONS_PREFIX,
        "broker": keys.BROKER_PREFIX,
        "after": after,
        "most": most,
    }
    names = [keys.ACTIVE, keys.RECONCILER]
    return script("find_lost", parse, names, [json.dumps(asked)], kinds=ARRAY)


def requeue(
    refs: Sequence[RunRef],
    specs: Sequence[Spec | None] = (),
    *,
    job_ttl_s: int,
    restart: bool = False,
) -> Call[list[int]]:
    """Give at most MOST_LED runs a new number, as if just claimed; the caller queues them.

    0 for each that is stale, or that nobody wants any more: it ends here.

    A run that gets a spec computes that from now on, and its result is no longer that of its key.
    With `restart` that is no worker's death: the stages it went through count as never started.
    """
    runs = [
        {"key": ref.key, "n": ref.n, "spec": spec.to_json() if spec else ""}
        for ref, spec in zip(refs, specs or [None] * len(refs), strict=True)
    ]
    asked = _with_names(job_ttl_s, lease_ms=LEASE_MS, runs=runs, restart=restart)
    return script("requeue", lambda answer: [int(n) for n in answer], [], [asked], kinds=ARRAY)


def release(refs: Sequence[RunRef], *, most: int = MAX_HAND_BACKS) -> Call[list[bool]]:
    """Let runs go for another worker, which gets them after GRACE_MS.

    False for each that is stale or was handed back `most` times before.
    """
    names = [name for ref in refs for name in (keys.run(ref.key), keys.run_events(ref.key))]
    args: list[Word] = [LEASE_MS, most, *(ref.n for ref in refs)]
    return script(
        "release", lambda answers: [bool(answer) for answer in answers], names, args, kinds=ARRAY
    )


def forget_start(refs: Sequence[RunRef], stage: str) -> Call[int]:
    """Count the last start of this stage no more: a worker that stops gives the runs back."""
    names = [keys.run(ref.key) for ref in refs]
    return script("forget_start", int, names, [stage, *(ref.n for ref in refs)], kinds=NUMBER)


@dataclass(frozen=True)
class Look:
    """Jobs as they were at one moment; those that do not exist are not in it."""

    at_ms: float
    """Redis time."""
    views: Mapping[str, View]
    """By job id."""


def look(job_ids: Sequence[str], loads: str = "{}") -> Call[Look]:
    """These jobs and what their runs do now, in one round trip.

    `loads` is JSON, variant -> variant -> Load, for the estimate of the wait.
    """

    def parse(answer: Any) -> Look:
        found = orjson.loads(answer)
        views = zip(job_ids, found["jobs"], strict=True)
        return Look(float(found["at"]), {job_id: View(**job) for job_id, job in views if job})

    names = [keys.job(job_id) for job_id in job_ids]
    prefixes = [keys.run(""), keys.WAITING_PREFIX, keys.PACE_PREFIX]
    args: list[Word] = [*prefixes, loads, keys.INTERESTS, INTEREST_MS]
    return script("view", parse, names, args, kinds=TEXT)


def view(job_id: str, loads: str = "{}") -> Call[View | None]:
    """A job and what its run does now; None if there is no such job."""
    one = look([job_id], loads)
    return Call(
        one.words, lambda answer: one.parse(answer).views.get(job_id), one.kinds, one.script
    )


def loads_json(loads: Mapping[str, Mapping[str, Load]]) -> str:
    """What `look` and `view` take."""
    return json.dumps({model: _plain(costs) for model, costs in loads.items()})


@dataclass(frozen=True)
class Group:
    """Runs under way that are alike."""

    model: str
    priority: str
    line: str
    state: str
    """`waiting`, or the state of the stage that they are in."""
    count: int
    oldest_ms: float
    """How long the first of them has waited; 0 for what does not wait."""


@dataclass(frozen=True)
class Stats:
    """What is under way, and what each model has done so far: see ending.lua and claim.lua."""

    groups: Sequence[Group]
    totals: Mapping[str, Mapping[str, str]]
    after: str = ""
    """Where the next page of runs begins; empty after the last one."""

    def with_page(self, page: "Stats") -> "Stats":
        """Both together."""
        groups = {(one.model, one.priority, one.line, one.state): one for one in self.groups}
        for one in page.groups:
            key = one.model, one.priority, one.line, one.state
            before = groups.get(key, replace(one, count=0))
            oldest_ms = max(one.oldest_ms, before.oldest_ms)
            groups[key] = replace(one, count=one.count + before.count, oldest_ms=oldest_ms)
        return Stats(list(groups.values()), {**self.totals, **page.totals}, page.after)


def stats(after: str = "", most: int = MOST_LOOKED_AT) -> Call[Stats]:
    """All that /metrics says of the whole installation; of the runs under way a page at a time."""

    def parse(answer: Any) -> Stats:
        groups = [Group(**json.loads(text)) for text in answer[1]]
        totals = {_text(model): _dict(counts) for model, counts in answer[2]}
        return Stats(groups, totals, _text(answer[0]))

    asked = {"run": keys.run(""), "stat": keys.STAT_PREFIX, "after": after, "most": most}
    names = [keys.ACTIVE, keys.MODELS]
    return script("stats", parse, names, [json.dumps(asked)], kinds=ARRAY)


@dataclass(frozen=True)
class Listing:
    """Jobs of a user, newest first."""

    at_ms: float
    """Redis time."""
    job_ids: Sequence[str]


def jobs_since(user: str, since_ms: float, most: int) -> Call[Listing]:
    """This user's newest jobs, at most so many, that were asked for at `since_ms` or later."""
    return script(
        "jobs_since",
        lambda answer: Listing(float(answer[0]), [_text(one) for one in answer[1:]]),
        [keys.user_jobs(user)],
        [since_ms, most],
        kinds=ARRAY,
    )


def result(request_key: str) -> Call[str | None]:
    """A remembered result's JSON, from the cache Redis."""
    return command(_optional, "GET", keys.result(request_key), kinds=MAYBE_TEXT)


def remember_result(request_key: str, payload: str, ttl_s: int) -> Call[Any]:
    """Keep a result's JSON in the cache Redis."""
    words = ("SET", keys.result(request_key), payload, "EX", ttl_s)
    return command(lambda answer: answer, *words, kinds=TEXT)


def forget_result(request_key: str) -> Call[Any]:
    """Forget a remembered result."""
    return command(lambda answer: answer, "DEL", keys.result(request_key), kinds=NUMBER)


def forget_idempotency(user: str, key: str) -> Call[Any]:
    """Let a request with this Idempotency-Key be tried anew."""
    return command(lambda answer: answer, "DEL", keys.idempotency(user, key), kinds=NUMBER)


def exchange_place(content_key: str, place: str, ttl_s: int) -> Call[str | None]:
    """Say where the result of these bytes will lie; answers where it has lain so far, if it has.

    Kept in the cache Redis. Said before the work is done, so that a place may prove to be empty.
    """
    words = ("SET", keys.place(content_key), place, "GET", "EX", ttl_s)
    return command(_optional, *words, kinds=MAYBE_TEXT)


def write_upload(
    user: str,
    upload_id: str,
    fields: Mapping[str, Word],
    *,
    ttl_s: int,
    original: tuple[str, str] | None = None,
) -> Call[Any]:
    """Write an upload's record; `original` = (sha256, variant) once its bytes are really there."""
    of = keys.upload_of(user, *original) if original else ""
    args = [ttl_s * 1000, upload_id, *_flat(fields)]
    names = [keys.upload(user, upload_id), of]
    return script("upload", lambda answer: answer, names, args, kinds=NUMBER)


def upload(user: str, upload_id: str) -> Call[dict[str, str]]:
    """An upload's record; empty if there is none of this user."""
    return command(_dict, "HGETALL", keys.upload(user, upload_id), kinds=FIELDS)


def upload_of(user: str, sha256: str, variant: str) -> Call[str | None]:
    """The id of this user's upload of that original, if its bytes are there."""
    return command(_optional, "GET", keys.upload_of(user, sha256, variant), kinds=MAYBE_TEXT)


def _plain(loads: Mapping[str, Load]) -> dict[str, Any]:
    return {model: load.__dict__ for model, load in loads.items()}


def _dict(answer: Any) -> dict[str, str]:
    if isinstance(answer, Mapping):  # RESP3
        return {_text(k): _text(v) for k, v in answer.items()}
    words = [_text(word) for word in answer]
    return dict(zip(words[::2], words[1::2], strict=True))


def _optional(found: Any) -> str | None:
    return None if found is None else _text(found)


def _flat(fields: Mapping[str, Word]) -> list[Word]:
    return [word for pair in fields.items() for word in pair]


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
