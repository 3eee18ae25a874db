"""make bench-volumes: a hospital's day of 2,000 scans in some minutes, ten at a time, 30 s each.

Calls of 40 slices come at random, as many by the hour as in a clinic (few at night, most before
noon); a day takes BENCH_DAY_S seconds. The model may have ten runs at a time and 30 s of work on
each (PIXELMILL_MODEL_LIMITS), and the device is simulated: 5 ms a batch and 0.5 ms a slice. A call
that is answered 429 is sent again after Retry-After, as clients do. Counted are calls without the
right answer, runs in progress (looked at 50 times a second), and the time from when a call was due
to its answer.
"""

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from options import parser, setting
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
from nifti_files import nifti_gz
from stack import API_KEY, Stack

from storage import backlog_keys

CALLS = setting("CALLS", 2000, "calls of the day")
DAY_S = setting("DAY_S", 480.0, "seconds of the day")
SLICES = setting("SLICES", 40, "slices of a call")
AT_A_TIME, SECONDS = 10, 30
BY_HOUR = (1, 1, 1, 1, 1, 2, 4, 8, 12, 14, 14, 12, 9, 10, 11, 9, 7, 5, 4, 3, 3, 2, 2, 1)
"""How many of the day's calls come in each hour, as parts."""
MODELS = Path(__file__).parent / "models"
LOOK_S = 0.02


class Day:
    """The calls of one day, and what came of them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.seconds: list[float] = []
        self.came: Counter[str] = Counter()
        self.most_at_a_time = 0
        self._is_over = False

    async def live(self) -> None:
        """All calls, each at its time."""
        limits = httpx.Limits(max_connections=200)
        headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/gzip"}
        async with httpx.AsyncClient(
            base_url=self.stack.url, timeout=400, limits=limits, headers=headers
        ) as client:
            began = time.monotonic()
            looking = asyncio.create_task(asyncio.to_thread(self._look))
            calls = (self._call(client, n, began + due) for n, due in enumerate(_due()))
            await asyncio.gather(*calls)
            self._is_over = True
            await looking

    async def _call(self, client: httpx.AsyncClient, number: int, due: float) -> None:
        await asyncio.sleep(max(due - time.monotonic(), 0))
        data = _scan(number)
        while True:
            answer = await client.post("/api/v1/predict/scan?wait=300", content=data)
            if answer.status_code != 429:
                break
            self.came["429, sent again"] += 1
            await asyncio.sleep(int(answer.headers["retry-after"]))
        self.came[_outcome(answer, number)] += 1
        self.seconds.append(time.monotonic() - due)

    def _look(self) -> None:
        names = [backlog_keys.taken("scan", priority) for priority in ("interactive", "batch")]
        while not self._is_over:
            taken = sum(int(self.stack.state.zcard(name)) for name in names)  # type: ignore[arg-type]  # redis-py types it for both clients
            self.most_at_a_time = max(self.most_at_a_time, taken)
            time.sleep(LOOK_S)


def main() -> None:
    parser(__doc__).parse_args()
    env = {
        "PIXELMILL_MODELS": "scan",
        "PIXELMILL_MODEL_PATHS": str(MODELS),
        "PIXELMILL_MODEL_LIMITS": f"scan:at_a_time={AT_A_TIME},seconds={SECONDS}",
        "PIXELMILL_CPU_PROCESSES": "2",
        "PIXELMILL_MAX_IN_FLIGHT": "0",
    }
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), env).start_all() as stack:
        day = Day(stack)
        before = stack.cpu_s(*stack.processes)
        asyncio.run(day.live())
        cpu_s = stack.cpu_s(*stack.processes) - before
    _report(day, cpu_s)


def _report(day: Day, cpu_s: float) -> None:
    show("what came of the calls", ["", "calls"], [*sorted(day.came.items())])
    p50, p95, most = np.percentile(day.seconds, [50, 95, 100])
    lost = CALLS - day.came["done"]
    print(
        f"\nfrom due to answered: p50 {p50:.2f} s, p95 {p95:.2f} s, longest {most:.2f} s; "
        f"CPU of all processes {1000 * cpu_s / CALLS:.0f} ms a call\n"
    )
    verdict("calls lost", lost, 0)
    verdict("runs at a time", day.most_at_a_time, AT_A_TIME)
    verdict("p95 in seconds", round(float(p95), 2), SECONDS)
    save("volumes", {
        "calls": CALLS, "lost": lost, "at_a_time": day.most_at_a_time,
        "p50_s": round(p50, 3), "p95_s": round(p95, 3), "longest_s": round(most, 3),
        "cpu_ms_per_call": round(1000 * cpu_s / CALLS, 1),
    })  # fmt: skip


def _due() -> list[float]:
    """When each call comes, in seconds of the day."""
    random.seed(5)
    hours = random.choices(range(24), BY_HOUR, k=CALLS)
    return [(hour + random.random()) * DAY_S / 24 for hour in hours]


def _scan(number: int) -> bytes:
    """A volume that says its number in its first voxel."""
    voxels = np.full((SLICES, 64, 64), -1000, np.int16)
    voxels[0, 0, 0] = number
    return nifti_gz(voxels, (2.5, 0.7, 0.7))


def _outcome(answer: httpx.Response, number: int) -> str:
    body: dict[str, Any] = answer.json()
    if body.get("state") != "done":
        return f"{answer.status_code} {(body.get('error') or {}).get('code')}"
    data = body["result"]["data"]
    is_right = (data["number"], data["slices"]) == (number, SLICES)
    return "done" if is_right else "somebody else's answer"


if __name__ == "__main__":
    main()
