"""make chaos: breaks one thing after the other under load, and looks for a job that came to harm.

With 200 jobs in flight something is killed, emptied, filled or made slow. Whoever was told that a
job is accepted must hear of its end within 120 s, be given the golden bytes and nobody else's, and
nothing may be done twice or be answered by a 500. `--only WORD,WORD` tries those with such words.
The logs of all processes stay in var/chaos.
"""

import argparse
import asyncio
import itertools
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crowd import LIMIT_S, OBJECTS, Crowd, Job
from faults import FAULTS, Fault
from scene import DISK_MIB, SCRATCH_MIB, Scene, SmallDisk

sys.path.insert(0, str(Path(__file__).parent.parent / "bench"))
from table import save, show

from storage import keys

SPARE = 1.5
"""Clients per job in flight: some have just heard of their job's end."""
GATHER_S = 60.0

_numbers: Iterator[int] = itertools.count(0, 1_000_000)


@dataclass(frozen=True)
class Outcome:
    """What one fault did."""

    fault: str
    jobs: int
    in_flight: int
    ends: dict[str, int]
    """done, or the code of a failure -> jobs."""
    lost: int
    duplicates: int
    wrong: list[str]
    seen: list[str]
    """What the fault itself saw."""
    statuses: dict[int, int]
    recovery_s: float
    """From the fault, or from a later job's acceptance, to the end of the last job."""
    longest_s: float
    door_s: float
    """The slowest answer to a request for a job."""

    @property
    def harm(self) -> list[str]:
        """Why this does not pass; empty if it does."""
        reasons = [*self.wrong, *self.seen]
        reasons += [f"{self.lost} lost"] if self.lost else []
        reasons += [f"{self.duplicates} done twice"] if self.duplicates else []
        reasons += [f"{n} x {code}" for code, n in self.statuses.items() if code in (500, 502, 504)]
        reasons += [f"{self.longest_s:.0f} s"] if self.longest_s > LIMIT_S else []
        return reasons


def attempt(scene: Scene, fault: Fault, count: int) -> Outcome:
    """Strike while `count` jobs are in flight; returns when all have ended and are looked at."""
    return asyncio.run(_attempt(scene, fault, count))


async def _attempt(scene: Scene, fault: Fault, count: int) -> Outcome:
    crowd = Crowd(
        scene.urls,
        list(scene.keys),
        int(count * SPARE),
        next(_numbers),
        marked=fault.marked,
        forgets=fault.forgets,
    )
    scene.harm.clear()
    finished, results, until = scene.finished(), set(scene.results()), asyncio.Event()
    clients = asyncio.create_task(crowd.run(until))
    in_flight = await _gather(scene, count, clients)
    struck_at = time.monotonic()
    try:
        await asyncio.to_thread(fault.strike, scene)
    finally:
        until.set()
    await clients
    await asyncio.to_thread(scene.wait_until_whole)
    await crowd.inspect()
    return _outcome(scene, fault, crowd, in_flight, struck_at, finished, results)


async def _gather(scene: Scene, count: int, clients: "asyncio.Task[None]") -> int:
    """Wait until `count` runs are in flight."""
    end = time.monotonic() + GATHER_S
    while (now := scene.in_flight()) < count:
        if clients.done() or time.monotonic() > end:
            raise TimeoutError(f"{now} of {count} jobs were in flight after {GATHER_S:.0f} s")
        await asyncio.sleep(0.05)
    return now


def _outcome(
    scene: Scene,
    fault: Fault,
    crowd: Crowd,
    in_flight: int,
    struck_at: float,
    finished: int,
    results: set[str],
) -> Outcome:
    jobs = crowd.jobs
    after = [job for job in jobs if job.ended_at > struck_at]
    editions = [_edition(scene, job) for job in jobs if job.state == "done"]
    done, gone = {edition for edition in editions if edition}, editions.count("")
    there = scene.results()
    # What an attempt that was killed has stored is part of a result at most, and nobody is told.
    untidy = [edition for edition in done if there.get(edition) != OBJECTS]
    untidy += [edition for edition in there.keys() - results if not there[edition] <= OBJECTS]
    return Outcome(
        fault=fault.name,
        jobs=len(jobs),
        in_flight=in_flight,
        ends=dict(Counter(job.code or job.state or "?" for job in jobs)),
        lost=sum(job.is_lost for job in jobs),
        duplicates=(0 if fault.forgets else abs(scene.finished() - finished - len(done)))
        + len(untidy),
        wrong=[
            *(f"job {job.id[:6]}: {job.wrong}" for job in jobs if job.wrong and not job.is_lost),
            *(
                [f"{gone} records of jobs that were done are gone"]
                if gone and not fault.forgets
                else []
            ),
        ],
        seen=[*scene.harm, *scene.late()],
        statuses=dict(crowd.statuses),
        recovery_s=max((j.ended_at - max(struck_at, j.accepted_at) for j in after), default=0.0),
        longest_s=max(job.ended_at - job.accepted_at for job in jobs),
        door_s=crowd.slowest_door_s,
    )


def _edition(scene: Scene, job: Job) -> str:
    """S3 prefix of the edition that a job's record names: equal requests have one. Empty without a
    record, as of jobs that were done before the state was emptied."""
    result = json.loads(scene.state.hget(keys.job(job.id), "result") or "{}")
    if not result:
        return ""
    return str(result["objects"]["preview"]["key"]).rpartition("/")[0] + "/"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200, help="in flight when the fault strikes")
    parser.add_argument(
        "--only", default="", help="faults whose names have one of these words, comma-separated"
    )
    chosen = parser.parse_args()
    outcomes, skipped = [], []
    folder = Path("var/chaos").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with (
        SmallDisk(SCRATCH_MIB) as scratch,
        SmallDisk(DISK_MIB) as disk,
        Scene(disk, scratch) as scene,
    ):
        scene.start_all()
        words = chosen.only.split(",")
        for fault in (
            candidate for candidate in FAULTS if any(word in candidate.name for word in words)
        ):
            if why_not := fault.why_not(scene):
                skipped.append(f"skipped: {fault.name}: {why_not}")
                continue
            outcomes.append(attempt(scene, fault, chosen.jobs))
            print(_line(outcomes[-1]), flush=True)
            scene.keep_logs(folder)
    _report(outcomes, skipped)
    return int(any(outcome.harm for outcome in outcomes))


def _line(outcome: Outcome) -> str:
    return (
        f"{outcome.fault}: {outcome.in_flight} in flight, {outcome.ends}, {outcome.statuses}, "
        f"recovered in {outcome.recovery_s:.1f} s, longest {outcome.longest_s:.1f} s, "
        f"slowest answer {outcome.door_s:.1f} s, {outcome.harm or 'no harm'}"
    )


def _report(outcomes: list[Outcome], skipped: list[str]) -> None:
    header = ["fault", "jobs", "lost", "duplicates", "worst recovery s", "failed, with reason", ""]
    rows: list[list[Any]] = []
    figures: dict[str, float] = {}
    for seen in outcomes:
        failed = ", ".join(f"{n} {code}" for code, n in seen.ends.items() if code != "done")
        harm = "; ".join(seen.harm[:3]) or "passed"
        worst = f"{seen.recovery_s:.1f}"
        rows.append([seen.fault, seen.jobs, seen.lost, seen.duplicates, worst, failed, harm])
        name = "_".join(_words(seen.fault))
        figures |= {
            f"{name}_jobs": seen.jobs,
            f"{name}_lost": seen.lost,
            f"{name}_duplicates": seen.duplicates,
            f"{name}_recovery_s": round(seen.recovery_s, 2),
            f"{name}_failed": seen.jobs - seen.ends.get("done", 0),
            f"{name}_harm": len(seen.harm),
        }
    show("chaos", header, rows)
    print(*skipped, sep="\n")
    save("chaos", figures)


def _words(fault: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in fault.lower()).split()


if __name__ == "__main__":
    sys.exit(main())
