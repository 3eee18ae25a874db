"""Runs that a test or a bench takes through their stages by hand, on real Redis."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from storage.jobs import claims, endings, snapshots, stages
from storage.jobs.endings import End
from storage.jobs.queueing import EncodedMessage
from storage.jobs.snapshots import Snapshot
from storage.jobs.spec import RunRef, Spec
from storage.jobs.stages import StageStart
from storage.redis.calls import Call, SyncRedis

STAGES = {
    "preprocess": ("preprocessing", "cpu", "gpu.toy", "gpu.toy"),
    "inference": ("inferring", "gpu.toy", "post", "cpu"),
    "postprocess": ("postprocessing", "post", "", ""),
}
"""Name: state, queue, next queue, next queue of the broker."""
RESULT = '{"kind":"labels","width":8,"height":8,"objects":{},"data":{}}'


@dataclass(frozen=True)
class Job:
    """A job that leads a run of its own."""

    link: SyncRedis
    id: str
    ref: RunRef

    def touch(self, event: str, stage: str, progress: float = 0.5) -> None:
        """What the stage's worker says."""
        [answer] = self.link.do(touch(self, event, stage, progress))
        assert answer.starts

    def finish(self, state: str = "done", payload: str = RESULT, job_ttl_s: int = 60) -> None:
        """What the last stage's worker says."""
        end = End(self.ref, state, payload)  # type: ignore[arg-type]  # as above
        [ended] = self.link.do(endings.finish([end], job_ttl_s=job_ttl_s))
        assert ended


def touch(job: Job, event: str, stage: str, progress: float) -> Call[list[StageStart]]:
    """The call that a stage's worker makes."""
    state, queue, next_queue, next_broker_queue = STAGES[stage]
    return report(
        event,
        [job.ref],
        stage=stage,
        state=state,
        progress=progress,
        queue=queue,
        priority="interactive",
        next_queue=next_queue,
        next_broker_queue=next_broker_queue,
    )


def report(
    event: str,
    refs: Sequence[RunRef],
    *,
    stage: str,
    state: str = "x",
    progress: float = 0,
    model: str = "toy",
    queue: str = "cpu",
    priority: str = "batch",
    next_queue: str = "",
    next_broker_queue: str = "",
    message: EncodedMessage | None = None,
    job_ttl_s: int = 60,
    expired: str = "{}",
) -> Call[list[StageStart]]:
    """A stage begins (`start`), goes on (`renew`) or has ended (`end`) for these runs."""
    if event == "start":
        return stages.begin_stage(
            refs,
            stage=stage,
            state=state,
            progress=progress,
            queue=queue,
            priority=priority,
            job_ttl_s=job_ttl_s,
            expired=expired,
        )
    if event == "renew":
        return _as_starts(stages.heartbeat(refs, stage=stage, job_ttl_s=job_ttl_s, expired=expired))
    call = stages.end_stage(
        refs,
        stage=stage,
        state=state,
        progress=progress,
        model=model,
        priority=priority,
        next_queue=next_queue,
        next_broker_queue=next_broker_queue,
        message=message,
        job_ttl_s=job_ttl_s,
        expired=expired,
    )
    return _as_starts(call)


def _as_starts(call: Call[list[int]]) -> Call[list[StageStart]]:
    def parse(answer: Any) -> list[StageStart]:
        return [StageStart(number, "") for number in call.parse(answer)]

    return replace(call, parse=parse)


def claim(link: SyncRedis, user: str, model: str = "toy") -> Job:
    """A new job of this user that is queued; no message is."""
    job_id, key = secrets.token_hex(16), secrets.token_hex(32)
    spec = Spec(key, user, model, {}, ["alpha"], "upload", "sha256:w", "sha256:c")
    call = claims.claim(
        job_id,
        spec,
        priority="interactive",
        job_ttl_s=60,
    )
    claimed = link.do(call)
    assert claimed.verdict == "start"
    return Job(link, job_id, RunRef(key, claimed.attempt))


def snapshot(link: SyncRedis, job_id: str, costs: bytes = b"{}") -> Snapshot | None:
    """The job as it is now; None if there is none."""
    return link.do(snapshots.read([job_id], costs)).jobs.get(job_id)
