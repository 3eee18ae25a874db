"""Runs that a test or a bench takes through their stages by hand, on real Redis."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from storage.jobs import claims, endings, snapshots, stages
from storage.jobs.endings import End
from storage.jobs.snapshots import Snapshot
from storage.jobs.spec import RunRef, Spec
from storage.jobs.stages import StageStart
from storage.redis.calls import Call, SyncRedis


@dataclass(frozen=True)
class StageNames:
    """What a stage of the model `toy` is called, and where its runs go next."""

    state: str
    queue: str
    next_queue: str
    next_broker_queue: str


STAGES = {
    "preprocess": StageNames("preprocessing", "cpu", "gpu.toy", "gpu.toy"),
    "inference": StageNames("inferring", "gpu.toy", "post", "cpu"),
    "postprocess": StageNames("postprocessing", "post", "", ""),
}
RESULT = '{"kind":"labels","width":8,"height":8,"objects":{},"data":{}}'


@dataclass(frozen=True)
class Job:
    """A job that has started a run of its own."""

    link: SyncRedis
    id: str
    ref: RunRef

    def begin_stage(self, stage: str, progress: float = 0.5) -> None:
        """What the stage's worker reports first."""
        call = begin_stage([self.ref], stage, progress=progress, priority="interactive")
        [start] = self.link.do(call)
        assert start.starts

    def end_stage(self, stage: str) -> None:
        """What the stage's worker reports last."""
        own = STAGES[stage]
        call = end_stage(
            [self.ref],
            stage,
            priority="interactive",
            next_queue=own.next_queue,
            next_broker_queue=own.next_broker_queue,
        )
        assert self.link.do(call) == [1]

    def finish(self, state: str = "done", payload: str = RESULT, job_ttl_s: int = 60) -> None:
        """What the last stage's worker reports."""
        end = End(self.ref, state, payload)  # type: ignore[arg-type]  # one of two words
        [ended] = self.link.do(endings.finish([end], job_ttl_s=job_ttl_s))
        assert ended


def begin_stage(
    refs: Sequence[RunRef],
    stage: str,
    *,
    state: str = "",
    progress: float = 0.5,
    queue: str = "",
    priority: str = "batch",
    job_ttl_s: int = 60,
    expired: str = "{}",
) -> Call[list[StageStart]]:
    """The call of a worker that begins a stage; state and queue of `toy` unless they are given."""
    return stages.begin_stage(
        refs,
        stage=stage,
        state=state or STAGES[stage].state,
        progress=progress,
        queue=queue or STAGES[stage].queue,
        priority=priority,
        job_ttl_s=job_ttl_s,
        expired=expired,
    )


def heartbeat(refs: Sequence[RunRef], stage: str, *, expired: str = "{}") -> Call[list[int]]:
    """The call of a worker that is still at work on a stage."""
    return stages.heartbeat(refs, stage=stage, job_ttl_s=60, expired=expired)


def end_stage(
    refs: Sequence[RunRef],
    stage: str,
    *,
    state: str = "",
    progress: float = 0.5,
    model: str = "toy",
    priority: str = "batch",
    next_queue: str = "",
    next_broker_queue: str = "",
    job_ttl_s: int = 60,
    expired: str = "{}",
) -> Call[list[int]]:
    """The call of a worker that has ended a stage, without a message for the next one."""
    return stages.end_stage(
        refs,
        stage=stage,
        state=state or STAGES[stage].state,
        progress=progress,
        model=model,
        priority=priority,
        next_queue=next_queue,
        next_broker_queue=next_broker_queue,
        message=None,
        job_ttl_s=job_ttl_s,
        expired=expired,
    )


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
