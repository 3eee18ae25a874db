"""Runs that a test or a bench takes through their stages by hand, on real Redis."""

import secrets
from dataclasses import dataclass

from storage import records
from storage.records import End, RunRef, Spec, Touched
from storage.redis.calls import Call, SyncRedis

STAGES = {
    "preprocess": ("preprocessing", "cpu", "gpu.toy", "gpu.toy"),
    "inference": ("inferring", "gpu.toy", "post", "cpu"),
    "postprocess": ("postprocessing", "post", "", ""),
}
"""Name: state, line, next line, next queue."""
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
        assert answer.deliveries

    def finish(self, state: str = "done", payload: str = RESULT, job_ttl_s: int = 60) -> None:
        """What the last stage's worker says."""
        end = End(self.ref, state, payload)  # type: ignore[arg-type]  # as above
        [ended] = self.link.do(records.finish([end], job_ttl_s=job_ttl_s))
        assert ended


def touch(job: Job, event: str, stage: str, progress: float) -> Call[list[Touched]]:
    """The call that a stage's worker makes."""
    state, line, next_line, next_queue = STAGES[stage]
    return records.touch(
        event,  # type: ignore[arg-type]  # tests name it freely
        [job.ref],
        stage=stage,
        state=state,
        progress=progress,
        model="toy",
        line=line,
        priority="interactive",
        next_line=next_line,
        next_queue=next_queue if event == "end" else "",
    )


def claim(link: SyncRedis, user: str, model: str = "toy") -> Job:
    """A new job of this user that is queued; no message is."""
    job_id, key = secrets.token_hex(16), secrets.token_hex(32)
    spec = Spec(key, user, model, {}, ["alpha"], "upload", "sha256:w", "sha256:c")
    call = records.claim(
        job_id,
        spec,
        priority="interactive",
        job_ttl_s=60,
        fields={"id": job_id},
    )
    claimed = link.do(call)
    assert claimed.verdict == "lead"
    return Job(link, job_id, RunRef(key, claimed.number))
