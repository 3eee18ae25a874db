"""make bench-scripts: how long each Lua script keeps Redis from everybody else, at its worst.

Written by the calls that web processes and workers make, pipelined: 200,000 jobs of one user, then
as many of 5,000 users beside 5,000 runs under way. Each script meets its worst realistic case
several times. Redis itself says how long each call took (slow log); its CPU time stands beside it,
less what a script costs that does nothing, as the processors of this machine may be shared. What
one job, run or entry costs, times how many a script may meet, is what the limits of
storage/jobs/bounds.py are reckoned from.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from itertools import chain, count
from pathlib import Path
from statistics import median
from typing import Any

import redis
from options import parser, setting
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
import runs
import scripts_of_users
from many_jobs import JOB_TTL_S, Timed, claim, do_all, request_key
from script_case import Case
from stack import REPOSITORY, Stack

from storage import backlog_keys, catalogue, keys, recent_users
from storage import uploads as stored_uploads
from storage.jobs import (
    backlog,
    bounds,
    claims,
    endings,
    history,
    minutes,
    recovery,
    snapshots,
    stages,
)
from storage.jobs import stats as job_stats
from storage.jobs.claims import Limits, RunCost
from storage.jobs.endings import End
from storage.jobs.history import Filter
from storage.jobs.queueing import EncodedMessage, enqueue
from storage.jobs.spec import RunRef, Spec
from storage.quotas import NO_QUOTAS, Use
from storage.redis.calls import Call
from storage.redis.connection import Word
from web.live import snapshots as live_snapshots

JOBS = setting("JOBS", 200_000, "jobs in Redis")
RUNS = setting("RUNS", 5000, "runs under way")
USERS = 5000
FIRST = 10**9
"""Number of the first job of a run."""
GOAL_MS = 20
MESSAGE = 16
JOINED = 50
FULL_MODELS = 64
MOST_STUCK = 50
STUCK = 1000
"""As tickets.lua has them: how many runs that were taken long ago one script looks at, of a model
and of all."""
EXPIRED = '{"code":"expired","message":"its deadline was over"}'
RESULT = json.dumps({"kind": "labels", "objects": {}, "data": {"labels": ["x" * 20] * 80}})
VARIANTS = [f"model-{number}" for number in range(10)]
COSTS = {name: RunCost(a_ms=40, b_ms=5, max_batch=8, cpu_ms=2) for name in VARIANTS}
ENCODED = EncodedMessage("cpu", b"x" * 2000)
TICKETS = {"interactive": ENCODED, "batch": ENCODED}
LIMITS = Limits(in_flight=10**6, waiting=10**6, wait_ms=1e12, costs=COSTS, joined=JOINED)


NOTHING = Case("nothing", lambda turn: enqueue([]))


class Bench:
    """A Redis full of jobs."""

    def __init__(self, stack: Stack) -> None:
        # Patient: hundreds of thousands of keys are written, and removed, in one go.
        self.redis = redis.Redis.from_url(stack.env["PIXELMILL_STATE_URL"], socket_timeout=300)
        self.timed = Timed(self.redis)
        self.number = count(2 * FIRST)
        self.rows: list[list[object]] = []
        self.costs: list[list[object]] = []
        self.figures: dict[str, float] = {}
        self.measured: set[str] = set()

    def measure(self, situation: str, cases: Iterable[Case]) -> None:
        """Time each case; the CPU time is what it took more than a script that does nothing."""
        idle_ms = median(self._once(NOTHING, turn)[1] for turn in range(20))
        for case in cases:
            took_ms, cpu_ms = zip(
                *(self._once(case, turn) for turn in range(case.times)), strict=True
            )
            self._note(situation, case, took_ms, max(median(cpu_ms) - idle_ms, 0))

    def _note(self, situation: str, case: Case, took_ms: Sequence[float], cpu_ms: float) -> None:
        figures = {
            "worst_ms": max(took_ms), "median_ms": median(took_ms), "least_ms": min(took_ms),
            "cpu_ms": cpu_ms,
        }  # fmt: skip
        row: list[object] = [situation, case.name, *(f"{ms:.2f}" for ms in figures.values())]
        self.rows.append(row)
        print(*row, flush=True)
        name = f"{situation} {case.name}".replace(" ", "_").replace(",", "")
        self.figures |= {f"{name}_{kind}": ms for kind, ms in figures.items()}
        if case.units:
            each_us = cpu_ms * 1000 / case.units
            self.costs.append([situation, case.name, f"{each_us:.1f}", case.units, f"{cpu_ms:.1f}"])
            self.figures[f"{name}_us_each"] = each_us

    def _once(self, case: Case, turn: int) -> tuple[float, float]:
        case.prepare(turn)
        self.redis.slowlog_reset()  # what the preparation left there takes some ms to be freed
        before_s = self._cpu_s()
        call = case.call(turn)
        self.measured.add(call.script)
        ms, _ = self.timed.ms(call)
        return ms, (self._cpu_s() - before_s) * 1000

    def _cpu_s(self) -> float:
        info = self.redis.info("cpu")
        return float(info["used_cpu_user_main_thread"] + info["used_cpu_sys_main_thread"])

    def runs(self, number: int, user: str = "ada", joined: int = 1) -> list[RunRef]:
        """New runs under way, each with so many jobs."""
        firsts = [next(self.number) for _ in range(number)]
        names = [request_key(first, user) for first in firsts]
        claimed = do_all(self.redis, (claim(first, user=user, known="") for first in firsts))
        others = (
            claim(next(self.number), user=user, key=name, known="")
            for name in names
            for _ in range(joined - 1)
        )
        do_all(self.redis, others)
        return [RunRef(name, claim.attempt) for name, claim in zip(names, claimed, strict=True)]


def main() -> None:
    parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack:
        stack.start_redis("state", "--appendonly", "yes")
        bench = Bench(stack)
        jobs = [f"{number:032x}" for number in range(JOBS)]
        do_all(bench.redis, (claim(number, known=RESULT) for number in range(JOBS)))
        bench.measure(
            "one user",
            chain(
                of_one_user(bench, jobs),
                scripts_of_users.of_erasure(bench.redis, "ada"),
                of_messages(bench),
                of_backlog(bench),
                scripts_of_users.of_user(bench.redis, jobs[JOBS // 2 :], "ada"),
            ),
        )
        bench.redis.flushall(asynchronous=True)
        do_all(
            bench.redis, (claim(number, user=f"user-{number % USERS}") for number in range(JOBS))
        )
        waiting = (
            claim(FIRST + number, user=f"user-{number % USERS}", known="") for number in range(RUNS)
        )
        do_all(bench.redis, waiting)
        bench.measure("many users", chain(of_all(bench), of_messages(bench), of_backlog(bench)))
    report(bench)


def report(bench: Bench) -> None:
    """Tables and verdicts."""
    header = ["jobs of", "script", "worst ms", "median ms", "least ms", "CPU ms"]
    show(f"{JOBS} jobs, {RUNS} runs under way: ms inside Redis", header, bench.rows)
    header = ["jobs of", "script", "CPU us each", "how many at most", "CPU ms"]
    show("what one job, run or entry costs, and how many there may be", header, bench.costs)
    slowest = {
        kind: max(ms for name, ms in bench.figures.items() if name.endswith(f"_{kind}_ms"))
        for kind in ("worst", "median", "least", "cpu")
    }
    for kind, ms in slowest.items():
        verdict(f"slowest script, {kind} ms", round(ms, 2), GOAL_MS)
    forgotten = all_scripts() - bench.measured
    verdict(f"scripts without a case {sorted(forgotten)}", len(forgotten), 0)
    print("On processors that others use too, CPU time says what a script takes alone.")
    save("scripts", bench.figures | {f"slowest_{kind}_ms": ms for kind, ms in slowest.items()})


def all_scripts() -> set[str]:
    """The names of all scripts, as calls have them."""
    files = (REPOSITORY / "storage").rglob("*.lua")
    names = {file.relative_to(REPOSITORY / "storage").with_suffix("").as_posix() for file in files}
    return {name for name in names if not name.startswith("shared_lua/")}


def of_one_user(bench: Bench, jobs: Sequence[str]) -> Iterable[Case]:
    """Scripts that a long history of a user, or many equal requests, may slow down."""
    ttl = {"job_ttl_s": JOB_TTL_S}
    yield Case("delete", lambda turn: endings.delete(jobs[turn], "ada", **ttl))
    shared = [next(bench.number) for _ in range(len(jobs) // 4)]
    do_all(bench.redis, (claim(number, key="shared".ljust(64, "0")) for number in shared))
    yield Case(
        "delete, shared result", lambda turn: endings.delete(f"{shared[turn]:032x}", "ada", **ttl)
    )
    yield Case("claim, hit", lambda turn: claim(next(bench.number), known=RESULT))
    yield Case("jobs_since", lambda turn: history.jobs_since("ada", 0, 100))
    rare = Filter(states=["failed"], models=["toy"])
    yield Case(
        "list_jobs, none of them",
        lambda turn: history.list_jobs("ada", rare, most=50),
        units=bounds.MOST_LOOKED_AT,
    )
    yield Case(
        "trim",
        lambda turn: history.trim(job_ttl_s=0),
        lambda turn: _age(bench, jobs, turn),
        bounds.MOST_LOOKED_AT,
    )
    done = jobs[-live_snapshots.MOST_AT_ONCE :]
    yield Case(
        "snapshots, 50 jobs with results", lambda turn: snapshots.read(done), units=len(done)
    )
    yield Case("upload", lambda turn: _upload(next(bench.number)))
    yield Case(
        "claim, 1,000 expired of its result",
        lambda turn: claim(next(bench.number), key="old".ljust(64, "0")),
        lambda turn: _holders(bench, 1000),
        250,
    )


def of_messages(bench: Bench) -> Iterable[Case]:
    """Scripts about runs, sixteen in a message, as many jobs joined to each as may."""
    ttl = {"job_ttl_s": JOB_TTL_S}
    full: list[RunRef] = []

    def fill(turn: int) -> None:
        full[:] = bench.runs(MESSAGE, joined=JOINED)

    def fill_and_start(turn: int) -> None:
        fill(turn)
        do_all(bench.redis, [_begin_stage(full)])

    def fill_and_expire(turn: int) -> None:
        fill(turn)
        for ref in full:
            bench.redis.hset(keys.run(ref.key), "deadline", 1)

    def fill_and_cancel(turn: int) -> None:
        fill_and_start(turn)
        for ref in full:
            bench.redis.hset(keys.run(ref.key), "cancelled", 1)

    def due(turn: int) -> None:
        refs = bench.runs(bounds.MOST_EXPIRED)
        jobs = [bench.redis.hget(keys.run(ref.key), "starter") for ref in refs]
        bench.redis.delete(keys.DEADLINES)
        bench.redis.zadd(keys.DEADLINES, dict.fromkeys(jobs, 1))

    yield Case(
        "finish, 16 runs of 50 jobs",
        lambda turn: endings.finish([End(ref, "done", RESULT) for ref in full], **ttl),
        fill,
        JOINED,
    )
    yield Case("give_up, a run of 50 jobs", lambda turn: _give_up(full[0]), fill, JOINED)
    yield Case("begin_stage, 16 runs", lambda turn: _begin_stage(full), fill, MESSAGE)
    yield Case("end_stage, 16 runs", lambda turn: _end_stage(full), fill_and_start, MESSAGE)
    yield Case(
        "begin_stage, 16 expired runs", lambda turn: _begin_stage(full), fill_and_expire, JOINED
    )
    yield Case("heartbeat, 16 runs", lambda turn: _heartbeat(full), fill_and_start, MESSAGE)
    yield Case(
        "heartbeat, 16 cancelled runs", lambda turn: _heartbeat(full), fill_and_cancel, JOINED
    )
    yield Case(
        "forget_start, 16 runs",
        lambda turn: stages.forget_start(full, "preprocess"),
        fill_and_start,
        MESSAGE,
    )
    yield Case("release, 16 runs", lambda turn: recovery.release(full), fill, MESSAGE)

    yield Case("enqueue, 16 messages", lambda turn: enqueue([ENCODED] * MESSAGE), units=MESSAGE)
    yield Case(
        "replace_upload, a run of 50 jobs", lambda turn: _replace_upload(full[0]), fill, JOINED
    )
    yield Case(
        "requeue, new weights",
        lambda turn: recovery.requeue(full[: bounds.MOST_REQUEUED], _updated(full), **ttl),
        fill,
        bounds.MOST_REQUEUED * JOINED,
    )
    yield Case("expire", lambda turn: endings.expire(EXPIRED, **ttl), due, bounds.MOST_EXPIRED)
    yield Case(
        "claim, again after a loss",
        lambda turn: _claim_again(bench, full),
        lambda turn: _lose(bench, full),
        JOINED,
    )
    yield Case(
        "claim, 100 of its user's runs gone",
        lambda turn: _claim_new(bench),
        lambda turn: bench.redis.zadd(
            keys.user_runs("ada"), {f"gone-{number}": number for number in range(100)}
        ),
        100,
    )
    yield Case("cancel", lambda turn: endings.cancel(_starter(bench, full[turn]), "ada", **ttl))
    bench.redis.delete(keys.ACTIVE, keys.DEADLINES)


def of_backlog(bench: Bench) -> Iterable[Case]:
    """Scripts that put runs into the backlog and take them out again."""
    full: list[RunRef] = []

    def fill(turn: int) -> None:
        of_toy = ("toy", "batch")
        bench.redis.delete(backlog_keys.backlog(*of_toy), backlog_keys.taken(*of_toy))
        full[:] = bench.runs(MESSAGE, joined=JOINED)

    def fill_backlog(turn: int) -> None:
        fill(turn)
        do_all(bench.redis, (backlog.enqueue_claimed(ref) for ref in full))

    def fill_backlog_and_expire(turn: int) -> None:
        fill_backlog(turn)
        for ref in full:
            bench.redis.hset(keys.run(ref.key), "deadline", 1)

    yield Case("enqueue_claimed", lambda turn: backlog.enqueue_claimed(full[0], 1, TICKETS), fill)
    yield Case("take, 16 runs", _take, fill_backlog, MESSAGE)
    yield Case("take, 16 expired runs", _take, fill_backlog_and_expire, JOINED)
    calls = backlog.call_workers(TICKETS)
    yield Case("call_workers, no room", lambda turn: calls, lambda turn: _stick(bench), STUCK)


def of_all(bench: Bench) -> Iterable[Case]:
    """Scripts that look at all runs, workers or models."""
    for worker in range(200):
        about = {"queues": ["cpu"], "host": "h" * 40, "facts": "x" * 500}
        cards = {name: {"name": name, "card": "x" * 2000} for name in VARIANTS}
        do_all(bench.redis, [catalogue.announce(f"worker-{worker}", about, cards)])
    jobs = [f"{number:032x}" for number in range(FIRST, FIRST + live_snapshots.MOST_AT_ONCE)]
    costs = snapshots.costs_json(
        dict.fromkeys(VARIANTS, COSTS) | {"toy": COSTS | {"toy": COSTS["model-0"]}}
    )
    free = lambda turn: bench.redis.delete(keys.REAPER_LOCK)  # noqa: E731
    page = bounds.MOST_LOOKED_AT
    yield Case("stats, a page", lambda turn: job_stats.read(), units=page)
    yield Case("under_way, a page", lambda turn: recovery.under_way(), units=page)
    yield Case("find_lost, a page", lambda turn: recovery.find_lost(every_ms=900), free, page)
    yield Case("uploads_in_use, a page", lambda turn: stored_uploads.in_use(), units=page)
    yield Case(
        "find_lost, a page of lost",
        lambda turn: recovery.find_lost(every_ms=900, grace_ms=-1),
        free,
        page,
    )
    yield Case("snapshots, 50 waiting jobs", lambda turn: snapshots.read(jobs, costs), units=50)
    yield Case("claim, a new run", lambda turn: _claim_new(bench))
    yield Case("catalogue, 200 workers", lambda turn: catalogue.read(), units=200)
    yield Case("minutes, 10 models", lambda turn: minutes.read(), units=minutes.MINUTES)
    yield Case("recent_users", lambda turn: recent_users.read(), units=recent_users.MOST)
    yield Case("announce", lambda turn: catalogue.announce("worker-0", about, cards))
    bench.redis.delete(keys.ACTIVE, keys.DEADLINES)


def _stick(bench: Bench) -> None:
    """Every model has a backlog, and as many runs as are looked at are stuck in front of it."""
    bench.redis.delete(ENCODED.queue)
    stuck = {f"stuck-{number}": number for number in range(MOST_STUCK)}
    pipeline = bench.redis.pipeline(transaction=False)
    for name in stuck:
        pipeline.hset(name, "state", "inferring")
    for model in (f"full-{number}" for number in range(FULL_MODELS)):
        for priority in TICKETS:
            pipeline.zadd(backlog_keys.backlog(model, priority), {"waits": 1})
            pipeline.zadd(backlog_keys.turns(priority), {model: 1})
            pipeline.zadd(backlog_keys.taken(model, priority), stuck)
    pipeline.execute()


def _take(turn: int) -> Call[Any]:
    return backlog.take(
        f"bench-{turn}-{time.time_ns()}", "batch", most=MESSAGE, most_ms=20, state="preprocessing",
        progress=0.05, tickets=TICKETS, job_ttl_s=JOB_TTL_S, expired=EXPIRED,
    )  # fmt: skip


def _begin_stage(refs: Sequence[RunRef]) -> Call[Any]:
    return runs.begin_stage(refs, "preprocess", job_ttl_s=JOB_TTL_S, expired=EXPIRED)


def _heartbeat(refs: Sequence[RunRef]) -> Call[Any]:
    return stages.heartbeat(refs, stage="preprocess", job_ttl_s=JOB_TTL_S, expired=EXPIRED)


def _give_up(ref: RunRef) -> Call[Any]:
    image = Use("ada", NO_QUOTAS, images=1, bytes=1000, stored_ttl_s=JOB_TTL_S)
    return endings.give_up(ref, EXPIRED, image, job_ttl_s=JOB_TTL_S)


def _end_stage(refs: Sequence[RunRef]) -> Call[Any]:
    return runs.end_stage(
        refs,
        "preprocess",
        next_queue="gpu.toy",
        next_broker_queue="gpu.toy",
        job_ttl_s=JOB_TTL_S,
        expired=EXPIRED,
    )


def _updated(refs: Sequence[RunRef]) -> list[Any]:
    """Specs of other weights."""
    return [
        Spec(f"newer{ref.key[5:]}", "ada", "toy", {}, ["alpha"], "upload", "newer", "c")
        for ref in refs[: bounds.MOST_REQUEUED]
    ]


def _upload(number: int) -> Call[Any]:
    fields: dict[str, Word] = {
        "state": "there",
        "sha256": "a" * 64,
        "variant": "original",
        "size": 100_000,
    }
    original = ("a" * 64, "original")
    return stored_uploads.write("ada", f"{number:032x}", fields, ttl_s=JOB_TTL_S, original=original)


def _replace_upload(ref: RunRef) -> Call[Any]:
    spec = Spec(ref.key, "ada", "toy", {}, ["alpha"], "b" * 32, "sha256:w", "sha256:c")
    return claims.replace_upload(ref, spec, "nobody")


def _starter(bench: Bench, ref: RunRef) -> str:
    return str(bench.redis.hget(keys.run(ref.key), "starter").decode())


def _lose(bench: Bench, full: list[RunRef]) -> None:
    full[:] = bench.runs(MESSAGE, joined=JOINED)
    do_all(bench.redis, [_begin_stage(full[:1])])
    bench.redis.hset(keys.run(full[0].key), "lease", 1)


def _claim_again(bench: Bench, full: Sequence[RunRef]) -> Call[Any]:
    return claim(next(bench.number), key=full[0].key, known="")


def _claim_new(bench: Bench) -> Call[Any]:
    number = next(bench.number)
    spec = Spec(request_key(number), "ada", "model-0", {}, ["alpha"], "upload", "w", "c")
    return claims.claim(
        f"{number:032x}", spec, priority="batch", job_ttl_s=JOB_TTL_S, limits=LIMITS
    )


def _holders(bench: Bench, number: int) -> None:
    """So many expired jobs that needed one result."""
    gone = {f"gone-{index}": index + 1 for index in range(number)}
    bench.redis.zadd(keys.result_jobs("old".ljust(64, "0")), gone)


def _age(bench: Bench, jobs: Sequence[str], turn: int) -> None:
    """Let a page of the history's oldest jobs be gone, and the history due."""
    first = (1 + turn) * bounds.MOST_LOOKED_AT
    ids = jobs[first : first + bounds.MOST_LOOKED_AT]
    bench.redis.delete(*map(keys.job, ids))
    bench.redis.zadd(keys.user_jobs("ada"), dict.fromkeys(ids, 1))
    bench.redis.zadd(keys.HISTORIES, {"ada": 1})


if __name__ == "__main__":
    main()
