"""A worker reports on the runs of its message: a stage begins, goes on, or has ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage import keys
from storage.jobs import bounds
from storage.jobs.endings import ending
from storage.jobs.queueing import EncodedMessage
from storage.jobs.spec import RunRef
from storage.redis.answers import text
from storage.redis.calls import ARRAY, NUMBER, Call, Word, script


@dataclass(frozen=True)
class StageStart:
    """What a run answers to a stage that would begin."""

    starts: int
    """How often this stage has begun; not above 0: the stage must leave the run alone."""
    spec: str
    """JSON; empty if the stage must leave the run alone."""
    restarts: int = 0
    """How often the run has started again because an array was gone."""

    @property
    def is_live(self) -> bool:
        """Whether the stage may work on the run."""
        return self.starts > 0

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended, so that its arrays can be removed."""
        return self.starts < 0


def begin_stage(
    refs: Sequence[RunRef],
    *,
    stage: str,
    state: str,
    progress: float,
    queue: str,
    priority: str,
    job_ttl_s: int,
    expired: str,
) -> Call[list[StageStart]]:
    """A stage begins for these runs; renews their leases.

    `queue`: the queue they waited in. `expired`: the error, as JSON, of a run whose deadline is
    over.
    """
    names = [keys.positions(queue, priority), keys.positions(queue, priority), "", ""]
    report: list[Word] = ["start", stage, state, progress, bounds.LEASE_MS, "", "", ""]
    return _report(refs, names, [*report, ending(job_ttl_s), expired])


def heartbeat(
    refs: Sequence[RunRef], *, stage: str, job_ttl_s: int, expired: str
) -> Call[list[StageStart]]:
    """The stage is still at work on these runs; renews their leases."""
    report: list[Word] = ["renew", stage, "", 0, bounds.LEASE_MS, "", "", ""]
    return _report(refs, ["", "", "", ""], [*report, ending(job_ttl_s), expired])


def end_stage(
    refs: Sequence[RunRef],
    *,
    stage: str,
    state: str,
    progress: float,
    model: str,
    priority: str,
    next_queue: str,
    next_broker_queue: str,
    message: EncodedMessage | None,
    job_ttl_s: int,
    expired: str,
) -> Call[list[StageStart]]:
    """A stage has ended for these runs; renews their leases.

    Queues the message for the next stage in the same step, unless all runs are stale: no crash can
    come between. `next_queue` and `next_broker_queue` are empty after the last stage.
    """
    names = [
        keys.positions(stage, priority),
        keys.positions(next_queue or stage, priority),
        message.queue if message else "",
        keys.pace(model),
    ]
    report: list[Word] = [
        "end",
        stage,
        state,
        progress,
        bounds.LEASE_MS,
        next_broker_queue,
        next_queue,
    ]
    words = [*report, message.text if message else "", ending(job_ttl_s), expired]
    return _report(refs, names, words)


def _report(refs: Sequence[RunRef], names: list[str], report: list[Word]) -> Call[list[StageStart]]:
    for ref in refs:
        names += [keys.run(ref.key), keys.run_events(ref.key)]
    attempts = [word for ref in refs for word in (ref.key, ref.attempt)]

    def parse(answers: Any) -> list[StageStart]:
        return [StageStart(int(n), text(spec), *map(int, more)) for n, spec, *more in answers]

    return script("jobs/touch", parse, names, [*report, *attempts], kinds=ARRAY)


def forget_start(refs: Sequence[RunRef], stage: str) -> Call[int]:
    """Do not count the last start of this stage: a worker that stops puts the runs back."""
    names = [keys.run(ref.key) for ref in refs]
    args: list[Word] = [stage, *(ref.attempt for ref in refs)]
    return script("jobs/forget_start", int, names, args, kinds=NUMBER)
