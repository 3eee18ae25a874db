"""make bench-lists: what it brings that a message carries several runs.

Part one: runs of a no-op model are claimed, then queued in messages of 1, 4, 8 and 16, and the time
is taken until the last has ended. The sizes take turns, so that a slow minute of the machine hits
all alike. Part two: clients that each send one photo and wait for it; a worker takes together what
waits when it is free.
"""

import itertools
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from load import closed_loop, request
from options import parser, setting
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
from queued import Queued
from stack import API_KEY, Stack

RUNS = setting("RUNS", 480, "runs a row of the first table")
SECONDS = setting("SECONDS", 5.0, "seconds a row of the second")
SIZES = (1, 4, 8, 16)
CLIENTS = (1, 16, 64)
ROUNDS = 3
WORKERS = ("cpu-worker", "gpu-worker")
MODELS = Path(__file__).parent / "models"


def main() -> None:
    parser(__doc__).parse_args()
    env = {
        "PIXELMILL_MODELS": "noop",
        "PIXELMILL_MODEL_PATHS": str(MODELS),
        "PIXELMILL_CPU_PROCESSES": "1",
        "PIXELMILL_TASK_EVENTS": "false",
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory(prefix="pixelmill-bench-", dir="/dev/shm") as memory,
    ):
        env["PIXELMILL_S3_URL"] = f"file://{memory}"
        with Stack(Path(folder), env).start_all() as stack:
            queued = Queued(stack, "noop")
            measure(stack, queued, 16, 64)  # warm-up
            lists = [[measure(stack, queued, size, RUNS) for size in SIZES] for _ in range(ROUNDS)]
            singles = [clients(stack, count) for count in CLIENTS]
    figures: dict[str, float] = {}
    rows = []
    for size, columns in zip(SIZES, zip(*lists, strict=True), strict=True):
        per_s, cpu_ms = (round(median(column), 2) for column in zip(*columns, strict=True))
        figures |= {f"lists_{size}_runs_per_s": per_s, f"lists_{size}_cpu_ms": cpu_ms}
        rows.append([size, f"{per_s:.0f}", f"{cpu_ms:.2f}"])
    show(f"{RUNS} runs of a no-op model", ["runs a message", "runs/s", "worker CPU ms/run"], rows)
    rows = []
    for count, (per_s, cpu_ms, p50_ms, grouped) in zip(CLIENTS, singles, strict=True):
        figures |= {
            f"clients_{count}_jobs_per_s": per_s,
            f"clients_{count}_runs_a_message": grouped,
        }
        rows.append([count, f"{per_s:.0f}", f"{p50_ms:.1f}", f"{cpu_ms:.2f}", f"{grouped:.2f}"])
    header = ["clients", "jobs/s", "p50 ms", "worker CPU ms/job", "runs a message"]
    show("single photos, each client waits for its own", header, rows)
    gain = round(figures["lists_8_runs_per_s"] / figures["lists_1_runs_per_s"], 2)
    verdict("runs/s, 8 a message against 1", gain, 3, at_most=False)
    save("lists", figures | {"times_8_against_1": gain})


def measure(stack: Stack, queued: Queued, size: int, runs: int) -> tuple[float, float]:
    """(runs/s, worker CPU ms per run) of so many runs in messages of `size`."""
    refs = [queued.claim() for _ in range(runs)]
    before, began = stack.cpu_s(*WORKERS), time.perf_counter()
    queued.post(refs, size)
    queued.wait()
    spent_s = time.perf_counter() - began
    return runs / spent_s, (stack.cpu_s(*WORKERS) - before) * 1000 / runs


def clients(stack: Stack, count: int) -> tuple[float, float, float, float]:
    """(jobs/s, worker CPU ms per job, p50 ms, runs a message) of clients with a photo each."""
    salts = itertools.count(count * 1_000_000)
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
    url = f"{stack.url}/api/v1/jobs?wait=30"
    upload = stack.upload("noop")
    asked = ({"upload": upload, "model": "noop", "params": {"salt": salt}} for salt in salts)
    requests = (request(url, headers, json.dumps(job).encode()) for job in asked)
    closed_loop(url, requests, clients=count, seconds=1)
    letters, cpu_s = _letters(stack), stack.cpu_s(*WORKERS)
    answers = closed_loop(url, requests, clients=count, seconds=SECONDS)
    jobs = len(answers.latencies_ms)
    assert answers.statuses == {200: jobs}, answers.statuses
    cpu_ms = (stack.cpu_s(*WORKERS) - cpu_s) * 1000 / jobs
    grouped = jobs / ((_letters(stack) - letters) / 3)  # three messages a chain
    return round(answers.per_s, 1), round(cpu_ms, 2), round(answers.p50, 2), round(grouped, 3)


def _letters(stack: Stack) -> int:
    """Messages queued so far, as Redis has counted them."""
    calls = stack.state.info("commandstats").get("cmdstat_lpush", {"calls": 0})
    return int(calls["calls"])


if __name__ == "__main__":
    main()
