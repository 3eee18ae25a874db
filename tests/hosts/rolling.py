"""A rolling upgrade: every process of an older commit is replaced, with jobs in flight."""

import asyncio
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

import httpx
from crowd import Crowd
from installation import OWNERS, REPOSITORY, Installation
from network import Network
from table import save, show

from storage import keys

IN_FLIGHT = 200
CLIENTS = 240
LIMIT_S = 600.0
"""How long they wait for the end of a job: a busy machine takes minutes for all in flight."""
WORKERS = ("cpu1", "cpu2", "gpu1", "gpu2")
ASK_S = 0.25


class Visits:
    """Somebody who opens the page again and again; each time as a new browser."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.statuses: Counter[str] = Counter()
        self.refusals: list[str] = []
        """What was answered instead of the page."""
        self.slowest_s = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._visit)

    def _visit(self) -> None:
        while not self._end.wait(ASK_S):
            began = time.monotonic()
            try:
                answer = httpx.get(self._url, verify=False, timeout=60, trust_env=False)
                self.statuses[str(answer.status_code)] += 1
                if answer.status_code != 200:
                    self.refusals.append(answer.text[:200])
            except httpx.HTTPError as error:
                self.statuses[type(error).__name__] += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()


def upgrade(folder: Path, rev: str) -> int:
    """From `rev` to this checkout; 1 if a job or an answer was lost."""
    old = folder / "old"
    git = ["git", "-C", str(REPOSITORY), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(old), rev], check=True)
    env = {
        "PIXELMILL_MODELS": "stamp",
        "STAMP_STAGE_S": "0.2",  # slower than the clients are on a busy machine
        "PIXELMILL_MODEL_PATHS": str(REPOSITORY / "tests" / "chaos" / "models"),
        "PIXELMILL_MAX_WAIT_INTERACTIVE_S": str(LIMIT_S),
    }
    try:
        with Network() as network, Installation(network, folder, 2, env) as hosts:
            hosts.tree = old
            hosts.start_all(WORKERS)
            hosts.tree = REPOSITORY
            with Visits(f"{hosts.url}/ui/") as visits:
                crowd, in_flight = asyncio.run(_replace(hosts))
    finally:
        subprocess.run([*git, "remove", "--force", str(old)], check=True)
    return _report(rev, crowd, visits, in_flight)


async def _replace(hosts: Installation) -> tuple[Crowd, int]:
    crowd = Crowd([hosts.url], list(OWNERS), CLIENTS, 0, verify=False, limit_s=LIMIT_S)
    until = asyncio.Event()
    clients = asyncio.create_task(crowd.run(until))
    while (in_flight := int(hosts.state.zcard(keys.ACTIVE))) < IN_FLIGHT:
        await asyncio.sleep(0.1)
    for name in hosts.webs:
        await asyncio.to_thread(hosts.stop, name)
        await asyncio.to_thread(hosts.start_web, name)
        await asyncio.to_thread(hosts.wait_for_page, name)
        print(f"{name} replaced: {len(crowd.jobs)} jobs so far", flush=True)
    for name in WORKERS:
        await asyncio.to_thread(hosts.stop, name)
        hosts.start_worker(name)
        await asyncio.to_thread(hosts.wait_for_workers, name)
        print(f"{name} replaced: {len(crowd.jobs)} jobs so far", flush=True)
    until.set()
    await clients
    await crowd.inspect()
    return crowd, in_flight


def _report(rev: str, crowd: Crowd, visits: Visits, in_flight: int) -> int:
    lost = sum(job.is_lost for job in crowd.jobs)
    wrong = [job.wrong for job in crowd.jobs if job.wrong]
    ends = Counter(job.code or job.state for job in crowd.jobs)
    bad = sum(n for code, n in crowd.statuses.items() if code >= 500 and code != 503)
    failed = sum(n for status, n in visits.statuses.items() if status != "200")
    rows = [
        ["jobs in flight at first", in_flight, ""],
        ["jobs", len(crowd.jobs), dict(ends)],
        ["not told of their end in time", lost, f"answers: {dict(crowd.statuses)}"],
        ["wrong bytes or answers", len(wrong), "; ".join(text[:80] for text in wrong[:3])],
        ["answers 5xx but 503", bad, ""],
        ["answers 503", crowd.statuses[503], "with Retry-After; tried again"],
        ["page asked for", sum(visits.statuses.values()), dict(visits.statuses)],
        ["page not served", failed, f"slowest {visits.slowest_s:.1f} s"],
        *(["", "", text] for text in visits.refusals),
    ]
    show(f"from {rev}", ["", "", ""], rows)
    save("rolling", {
        "in_flight": in_flight, "jobs": len(crowd.jobs), "done": ends["done"], "lost": lost,
        "wrong": len(wrong), "answers_5xx": bad, "answers_503": crowd.statuses[503],
        "page_visits": sum(visits.statuses.values()), "page_failures": failed,
        "page_slowest_s": round(visits.slowest_s, 1),
    })  # fmt: skip
    return int(bool(lost or wrong or bad or failed))
