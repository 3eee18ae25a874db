"""make load: ramps to saturation on a model that does nothing, then offers twice as much.

Whatever is too much must be refused soon, and the rest be served as fast as before. `--soak` goes
on for five minutes at most of capacity and looks for what grows: memory, open files, keys, arrays.
"""

import itertools
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from load import Answers, closed_loop, open_loop, request
from options import parser, setting
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
from processes import tree
from stack import API_KEY, Stack

from storage import backlog_keys, keys
from tasks.settings import read

MODELS = Path(__file__).parent / "models"
FIRST_PER_S, STEP = 100.0, 1.4
FAR = 2.0
"""The ramp ends where so many times as much is offered as was ever served: the more comes in, the
more runs share a message, and the cheaper they are."""
STEP_S = setting("STEP_SECONDS", 6.0, "seconds of each step up to saturation")
OVERLOAD_S = setting("SECONDS", 20.0, "seconds of twice as much")
SOAK_S = 300.0
SOAK_SHARE = 0.7
"""Of capacity."""
PROCESSES = ("web", "cpu-worker", "gpu-worker", "state", "cache")
LASTING = (
    keys.BROKER_PREFIX, keys.POSITIONS_PREFIX, keys.MEAN_STAGE_MS_PREFIX,
    f"{keys.METRICS_PREFIX}noop:all", keys.MODEL_PREFIX, keys.user(""), keys.API_KEY_PREFIX,
    backlog_keys.VIRTUAL_TIMES, backlog_keys.TICKET_COUNT, backlog_keys.CREDITS,
)  # fmt: skip
"""Prefixes of keys that have no time to live and do not grow with the number of jobs."""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--soak", nargs="?", type=float, const=SOAK_S, default=0, help="seconds")
    chosen = options.parse_args()
    env = {
        "PIXELMILL_MODELS": "noop",
        "PIXELMILL_MODEL_PATHS": str(MODELS),
        "PIXELMILL_CPU_PROCESSES": "1",
        "PIXELMILL_TASK_EVENTS": "false",
        "PIXELMILL_MAX_WAITING": "100",
        "PIXELMILL_MAX_IN_FLIGHT": "100000",
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory(prefix="pixelmill-bench-", dir="/dev/shm") as memory,
    ):
        env["PIXELMILL_S3_URL"] = f"file://{memory}"
        with Stack(Path(folder), env).start_all() as stack:
            figures = measured(stack, chosen.soak)
    save("load", figures)


def measured(stack: Stack, soak_s: float) -> dict[str, float]:
    """All figures; prints the tables on the way."""
    requests = Requests(stack)
    closed_loop(requests.url(30), requests.waiting(), clients=16, seconds=2)  # warm-up
    capacity, figures = ramp(stack, requests)
    figures |= overload(stack, requests, capacity)
    if soak_s:
        figures |= soak(stack, requests, capacity, soak_s)
    return figures


class Requests:
    """Jobs that nobody has asked for before, of one upload."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self._salts = stack, itertools.count(1_000_000)
        self._upload = stack.upload("noop")

    def url(self, wait_s: int) -> str:
        """The door."""
        return f"{self._stack.url}/api/v1/jobs?wait={wait_s}"

    def waiting(self) -> Iterator[bytes]:
        """Requests that are answered at the job's end."""
        return self._of(30)

    def brief(self) -> Iterator[bytes]:
        """Requests that are answered once the job is accepted."""
        return self._of(0)

    def _of(self, wait_s: int) -> Iterator[bytes]:
        headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
        for salt in self._salts:
            body = {"upload": self._upload, "model": "noop", "params": {"salt": salt}}
            yield request(self.url(wait_s), headers, json.dumps(body).encode())


def ramp(stack: Stack, requests: Requests) -> tuple[float, dict[str, float]]:
    """Runs done per second at saturation, and the figures of each step.

    By clients that do not wait: those who do offer less the slower they are served.
    """
    figures: dict[str, float] = {}
    rows, offered, capacity = [], FIRST_PER_S, FIRST_PER_S
    while offered < FAR * capacity:
        offered *= STEP
        seen, served = offer(stack, requests, offered, STEP_S)
        capacity = max(capacity, served)
        figures[f"ramp_{offered:.0f}_served_per_s"] = round(served, 1)
        rows.append([f"{offered:.0f}", f"{served:.0f}", seen.statuses, f"{seen.p50:.1f}",
                     f"{seen.percentile(0.99):.1f}"])  # fmt: skip
    show("ramp", ["offered/s", "served/s", "answers", "p50 ms", "p99 ms"], rows)
    return capacity, {**figures, "capacity_jobs_per_s": round(capacity, 1)}


def offer(stack: Stack, requests: Requests, per_s: float, seconds: float) -> tuple[Answers, float]:
    """The answers to so many requests a second, and how many runs a second were done meanwhile."""
    wait_until_idle(stack)
    before, began = finished(stack), time.monotonic()
    seen = open_loop(requests.url(0), requests.brief(), per_s=per_s, seconds=seconds)
    return seen, (finished(stack) - before) / (time.monotonic() - began)


def overload(stack: Stack, requests: Requests, capacity: float) -> dict[str, float]:
    """Twice the capacity is offered: what is served, how soon the rest is refused."""
    before_mib, spent_s = rss_mib(stack), cpu_s(stack)
    seen, goodput = offer(stack, requests, 2 * capacity, OVERLOAD_S)
    spent_s = {name: cpu_s(stack)[name] - spent_s[name] for name in PROCESSES}
    wait_until_idle(stack)
    refused = Answers(seen.of_status.get(429, [0.0]), {}, OVERLOAD_S)
    accepted = Answers(seen.of_status.get(202, [0.0]), {}, OVERLOAD_S)
    late = Answers(seen.late_ms, {}, OVERLOAD_S)
    grown = {name: rss_mib(stack)[name] - before_mib[name] for name in PROCESSES}
    rows = [
        ["offered/s", f"{2 * capacity:.0f}"],
        ["served/s", f"{goodput:.0f}"],
        ["answers", seen.statuses],
        ["refused after, p50 / p99 ms", f"{refused.p50:.0f} / {refused.percentile(0.99):.0f}"],
        ["accepted after, p50 / p99 ms", f"{accepted.p50:.0f} / {accepted.percentile(0.99):.0f}"],
        ["sent late by, p50 / p99 ms", f"{late.p50:.1f} / {late.percentile(0.99):.1f}"],
        ["CPU s", ", ".join(f"{name} {spent:.1f}" for name, spent in spent_s.items())],
        ["grown MiB", ", ".join(f"{name} {mib:.1f}" for name, mib in grown.items())],
    ]
    show(f"200 % of capacity for {OVERLOAD_S:.0f} s", ["what", ""], rows)
    share = round(goodput / capacity, 3)
    p99, accepted_p99 = (round(some.percentile(0.99), 1) for some in (refused, accepted))
    verdict("goodput, share of capacity", share, 0.9, at_most=False)
    verdict("refused, p99, times that of the accepted", round(p99 / max(accepted_p99, 1), 3), 1)
    others = sum(n for status, n in seen.statuses.items() if status not in (202, 429))
    verdict("answers that are neither accepted nor refused", others, 0)
    return {
        "overload_offered_per_s": round(2 * capacity, 1),
        "overload_goodput_per_s": round(goodput, 1),
        "overload_goodput_share": share,
        "overload_refused": len(seen.of_status.get(429, [])),
        "overload_refused_p99_ms": p99,
        "overload_accepted_p99_ms": accepted_p99,
        "overload_sent_late_p99_ms": round(late.percentile(0.99), 1),
        "overload_other_answers": others,
        **{f"overload_grown_{name}_mib": round(mib, 1) for name, mib in grown.items()},
    }


def soak(stack: Stack, requests: Requests, capacity: float, seconds: float) -> dict[str, float]:
    """What grows while most of the capacity is used for long."""
    files, arrays, samples = open_files(stack), arrays_of(stack), []
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.wait(5):
            samples.append((time.monotonic(), rss_mib(stack)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    seen = open_loop(
        requests.url(0), requests.brief(), per_s=SOAK_SHARE * capacity, seconds=seconds
    )
    stopping.set()
    watcher.join()
    wait_until_idle(stack)
    slopes = {name: slope_per_minute(samples, name) for name in PROCESSES}
    left = {name: open_files(stack)[name] - files[name] for name in PROCESSES}
    immortal = lasting_keys(stack)
    rows = [[name, f"{slopes[name]:+.2f}", f"{left[name]:+d}"] for name in PROCESSES]
    title = f"{seconds:.0f} s at {SOAK_SHARE:.0%} of capacity: {seen.statuses}"
    show(title, ["process", "MiB a minute, second half", "open files"], rows)
    print(f"arrays left: {arrays_of(stack) - arrays}; keys without time to live: {immortal}")
    own = max(slopes[name] for name in ("web", "cpu-worker", "gpu-worker"))
    verdict("our processes grow, MiB a minute", round(own, 2), 1)
    verdict("arrays left in scratch", arrays_of(stack) - arrays, 0)
    verdict("keys that would stay for ever", len(immortal), 0)
    return {
        "soak_s": seconds,
        "soak_jobs": len(seen.latencies_ms),
        "soak_arrays_left": arrays_of(stack) - arrays,
        "soak_keys_left": len(immortal),
        **{f"soak_{name}_mib_per_minute": round(slopes[name], 3) for name in PROCESSES},
        **{f"soak_{name}_open_files": left[name] for name in PROCESSES},
    }


def finished(stack: Stack) -> int:
    """Runs that ended well so far, as finish counts them minute by minute."""
    minutes = stack.state.keys(keys.METRICS_PREFIX + "noop:[0-9]*")
    return sum(int(stack.state.hget(name, "done") or 0) for name in minutes)


def wait_until_idle(stack: Stack) -> None:
    """Until no run is under way."""
    end = time.monotonic() + 60
    while stack.state.zcard(keys.ACTIVE):
        if time.monotonic() > end:
            raise TimeoutError("runs did not end in 60 s")
        time.sleep(0.05)


def rss_mib(stack: Stack) -> dict[str, float]:
    """Resident memory of each process with its children."""
    return {
        name: sum(process.memory_info().rss for process in tree(stack.processes[name].pid)) / 2**20
        for name in PROCESSES
    }


def cpu_s(stack: Stack) -> dict[str, float]:
    """CPU seconds that each process with its children has used."""
    return {name: stack.cpu_s(name) for name in PROCESSES}


def open_files(stack: Stack) -> dict[str, int]:
    """Open files of each process with its children."""
    return {
        name: sum(process.num_fds() for process in tree(stack.processes[name].pid))
        for name in PROCESSES
    }


def arrays_of(stack: Stack) -> int:
    """Files in scratch."""
    installation = read(None, secret=stack.env["PIXELMILL_SECRET"]).installation
    return len(list(Path("/dev/shm").glob(f"pixelmill-{installation}-*")))


def lasting_keys(stack: Stack) -> list[str]:
    """Keys of jobs, runs and results that would never expire."""
    all_keys = [(client, key) for client in (stack.client("state"), stack.client("cache"))
             for key in client.scan_iter(count=5000)]  # fmt: skip
    of_jobs = [(client, key) for client, key in all_keys if key.count(b":") > 1]
    return [
        key.decode()
        for client, key in of_jobs
        if not key.decode().startswith(LASTING) and client.ttl(key) == -1
    ]


def slope_per_minute(samples: list[tuple[float, dict[str, float]]], name: str) -> float:
    """MiB a minute over the second half, where whatever is filled once is full."""
    half = samples[len(samples) // 2 :]
    times, sizes = [at / 60 for at, _ in half], [sizes[name] for _, sizes in half]
    return float(np.polyfit(times, sizes, 1)[0])


if __name__ == "__main__":
    main()
