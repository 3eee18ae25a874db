"""Jobs as Redis has them at one moment, with what their runs do and how long they still wait."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from storage import keys
from storage.jobs import bounds
from storage.jobs.claims import RunCost
from storage.quotas import Allowance
from storage.redis.calls import TEXT, Call, script
from storage.states import ENDED


@dataclass(slots=True)  # frozen costs four times as much to make, and each change makes one
class Snapshot:
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
    """What a web process has made of it for its readers, by their origin."""
    allowances: Sequence[Allowance] = ()
    """Of a job that has just been claimed: what is left of its payer's quotas."""

    @property
    def state(self) -> str:
        """The job's own end state, else the run's."""
        own = self.fields["state"]
        return own if own in ENDED else self.run.get("state") or own

    @property
    def version(self) -> int:
        """Grows with every change; an ended job answers a number above all of its run's."""
        if self.fields["state"] in ENDED:
            return int(self.fields.get("attempt") or 0) * 1000 + 999
        return int(self.run.get("version") or 0)


@dataclass(frozen=True)
class JobSnapshots:
    """Jobs as they were at one moment; those that do not exist are not in it."""

    at_ms: float
    """Redis time."""
    jobs: Mapping[str, Snapshot]
    """By job id."""


def read(job_ids: Sequence[str], costs: bytes = b"{}") -> Call[JobSnapshots]:
    """These jobs and what their runs do now, in one round trip.

    `costs`: see costs_json, for the estimate of the wait.
    """

    def parse(answer: Any) -> JobSnapshots:
        decoded = orjson.loads(answer)
        jobs = zip(job_ids, decoded["jobs"], strict=True)
        snapshots = {job_id: Snapshot(**job) for job_id, job in jobs if job}
        return JobSnapshots(float(decoded["at"]), snapshots)

    names = [keys.job(job_id) for job_id in job_ids]
    values = {"costs": costs, "keep_alive_ms": bounds.KEEP_ALIVE_MS}
    return script("jobs/snapshots", parse, names, values, kinds=TEXT)


def ended(snapshot: Snapshot, event: bytes) -> Snapshot | None:
    """The job as the end of its run has left it, by the event of that end (shared_lua/ending.lua);
    None if the event does not tell that of this job, or what came before is not all known."""
    told: dict[str, Any] = orjson.loads(event)
    fields = snapshot.fields
    if fields["id"] not in told.get("jobs", ()) or "upload" not in fields:
        return None
    texts: dict[str, str] = {
        name: orjson.dumps(told[name]).decode()
        for name in ("timings", "result", "error")
        if name in told
    }
    own = {name: str(told[name]) for name in ("state", "ended", "attempt")}
    return Snapshot({**fields, **own, **texts})


def costs_json(costs: Mapping[str, Mapping[str, RunCost]]) -> bytes:
    """Variant -> other variant (or itself) -> what the other's runs cost it, as `read` takes it."""
    return orjson.dumps(costs)
