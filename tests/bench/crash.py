"""make bench-crash: accepted jobs that are lost when the state Redis ends at 200 jobs a second.

Jobs are accepted by the calls of a web process, on a Redis in namespaces of its own (needs root):
as it is, and with `PIXELMILL_DURABLE`, whose two halves are WAITAOF and `appendfsync always`.
In their middle Redis is killed (kill -9), its whole host is, or its power
is cut: then what no fdatasync has brought to the disk (see power_cut.py, needs strace) is gone too.
After its next start, each job that was answered must be there.
"""

import asyncio
import resource
import secrets
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import redis
from options import parser, setting
from power_cut import RedisHost
from table import save, show, verdict

from storage import keys
from storage.errors import StorageDown
from storage.jobs import claims
from storage.jobs.spec import Spec
from storage.redis.calls import AsyncRedis
from storage.redis.durable import DiskBarrier

RATE = setting("RATE", 200, "jobs a second")
SECONDS = setting("SECONDS", 3.3, "until the end; no whole number, as Redis flushes each second")
ROUNDS = setting("ROUNDS", 3, "ends of each kind")
WAYS = {"as it is": ("everysec", False), "WAITAOF alone": ("everysec", True),
        "durable jobs": ("always", True)}  # fmt: skip
"""Name -> appendfsync, and whether WAITAOF is waited for."""
ENDS: dict[str, Callable[[RedisHost], None]] = {
    "kill -9 of Redis": RedisHost.kill,
    "kill -9 of its host": RedisHost.kill_host,
    "power cut": RedisHost.cut_power,
}


@dataclass
class Accepted:
    """The jobs that were answered, and what that took."""

    ids: list[str] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    own_cpu_s: float = 0
    redis_cpu_s: float = 0


async def accept_until_the_end(url: str, is_durable: bool, accepted: Accepted) -> None:
    """Jobs at a steady rate, each answered as a web process does."""
    state, disk = AsyncRedis(url, "the state Redis", 1.2), DiskBarrier(url, "the state Redis")
    is_over = asyncio.Event()

    async def accept(number: int) -> None:
        job_id, began = secrets.token_hex(16), time.monotonic()
        spec = Spec(secrets.token_hex(32), f"user-{number % 50}", "toy", {}, ["alpha"], "upload",
                    "sha256:w", "sha256:c")  # fmt: skip
        try:
            await state.do(claims.claim(job_id, spec, priority="interactive", job_ttl_s=600))
            if is_durable:
                await disk.passed_by(keys.job(job_id))
        except StorageDown:
            is_over.set()
            return
        accepted.ids.append(job_id)
        accepted.times_s.append(time.monotonic() - began)

    began, number = time.monotonic(), 0
    async with asyncio.TaskGroup() as tasks:
        while not is_over.is_set():
            tasks.create_task(accept(number))
            number += 1
            await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
    await state.close()
    await disk.close()


def measure(way: str, end: str, folder: Path) -> tuple[Accepted, int]:
    """All that was accepted, and how many of these are gone after the next starts."""
    appendfsync, is_durable = WAYS[way]
    host = RedisHost(folder, appendfsync, is_traced=end == "power cut")
    accepted, lost = Accepted(), 0
    for _ in range(ROUNDS):
        host.start()
        before, own_before, redis_before = len(accepted.ids), _own_cpu_s(), host.cpu_s()
        spent: list[float] = []

        def strike(spent: list[float] = spent) -> None:
            spent.append(host.cpu_s())
            ENDS[end](host)

        striking = threading.Timer(SECONDS, strike)
        striking.start()
        asyncio.run(accept_until_the_end(host.url, is_durable, accepted))
        striking.join()
        accepted.own_cpu_s += _own_cpu_s() - own_before
        accepted.redis_cpu_s += spent[0] - redis_before
        host.start()
        with redis.Redis(unix_socket_path=str(host.socket)) as client:
            lost += sum(not client.exists(keys.job(job)) for job in accepted.ids[before:])
        host.kill_host() if end != "power cut" else host.kill()
    return accepted, lost


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure and print it."""
    parser(__doc__).parse_args()
    rows, figures = [], dict[str, float]()
    for way in WAYS:
        for end in ENDS:
            with tempfile.TemporaryDirectory() as folder:
                accepted, gone = measure(way, end, Path(folder))
            jobs = len(accepted.ids)
            own_ms, redis_ms = (
                seconds * 1000 / jobs for seconds in (accepted.own_cpu_s, accepted.redis_cpu_s)
            )
            p50_ms = statistics.median(accepted.times_s) * 1000
            rows.append([way, end, jobs, gone, f"{p50_ms:.0f}", f"{own_ms:.2f}", f"{redis_ms:.2f}"])
            name = f"{way}_{end}".replace(" ", "_").replace("-", "")
            figures |= {f"{name}_accepted": jobs, f"{name}_lost": gone, f"{name}_p50_ms": p50_ms,
                        f"{name}_own_cpu_ms": own_ms, f"{name}_redis_cpu_ms": redis_ms}  # fmt: skip
    header = ["", "end", "accepted", "lost", "p50 ms", "CPU ms a job", "of Redis"]
    show(f"{ROUNDS} ends of each kind at {RATE} jobs/s", header, rows)
    lost = sum(row[3] for row in rows if row[0] == "durable jobs")
    verdict("accepted jobs that were lost with PIXELMILL_DURABLE", lost, 0)
    save("crash", figures)


if __name__ == "__main__":
    main()
