"""One side of tests/bench/turns.py: an installation of the checkout that it is started in.

Started as `python turns_side.py BENCH`; reads the name of a measurement a line, answers each with
its CPU time in ms a job. It must run in older checkouts too, so it uses little of them.
"""

import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, "tests")
sys.path.insert(0, "tests/bench")
import hit
import lists
from load import closed_loop, request
from queued import Queued
from stack import API_KEY, Stack

Measurement = Callable[[], float]
WORKERS = ("cpu-worker", "gpu-worker")


def main() -> None:
    """Start, say what can be measured, measure what is asked for."""
    with BENCHES[sys.argv[1]]() as measurements:
        print(json.dumps(list(measurements)), flush=True)
        for line in sys.stdin:
            print(measurements[line.strip()](), flush=True)


@contextmanager
def hits() -> Iterator[dict[str, Measurement]]:
    """CPU of web for an answer that is known, at both doors."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(Path(folder), {"PIXELMILL_MODELS": "matting"}).start_all() as stack,
    ):
        photo = hit._photo()
        hit._misses(stack, photo)
        doors = {"json": hit._by_hash(stack, photo), "predict": hit._by_body(stack, photo)}

        def measure(asked: bytes, clients: int) -> float:
            most = 500 if clients == 1 else 1500
            before = cpu_ms(stack, "web")
            answers = closed_loop(stack.url, itertools.repeat(asked), clients=clients, most=most)
            assert set(answers.statuses) == {200}, answers.statuses
            return (cpu_ms(stack, "web") - before) / len(answers.latencies_ms)

        yield {
            f"{door}, {clients} clients: web": lambda asked=asked, clients=clients: measure(
                asked, clients
            )
            for door, asked in doors.items()
            for clients in (1, 16)
        }


@contextmanager
def noop(models: Path = Path("tests/bench/models")) -> Iterator[Stack]:
    """An installation with the model that does nothing, and a folder in memory for S3."""
    env = {
        "PIXELMILL_MODELS": "noop",
        "PIXELMILL_MODEL_PATHS": str(models.resolve()),
        "PIXELMILL_CPU_PROCESSES": "1",
        "PIXELMILL_TASK_EVENTS": "false",
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory(prefix="pixelmill-bench-", dir="/dev/shm") as memory,
        Stack(Path(folder), {**env, "PIXELMILL_S3_URL": f"file://{memory}"}).start_all() as stack,
    ):
        yield stack


@contextmanager
def chain() -> Iterator[dict[str, Measurement]]:
    """CPU of the workers, of web and of the state Redis for a job, one client or sixteen."""
    with noop() as stack:
        upload, salts = stack.upload("noop"), itertools.count()
        headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
        url = f"{stack.url}/api/v1/jobs?wait=30"
        jobs = ({"upload": upload, "model": "noop", "params": {"salt": salt}} for salt in salts)
        asked = (request(url, headers, json.dumps(job).encode()) for job in jobs)

        def measure(clients: int, processes: tuple[str, ...]) -> float:
            most = 60 if clients == 1 else 240
            before = cpu_ms(stack, *processes)
            answers = closed_loop(url, asked, clients=clients, most=most)
            assert answers.statuses == {200: most}, answers.statuses
            return (cpu_ms(stack, *processes) - before) / most

        parts = {"workers": WORKERS, "web": ("web",), "state Redis": ("state",)}
        yield {
            f"{clients} clients: {name}": lambda clients=clients, of=of: measure(clients, of)
            for clients in (1, 16)
            for name, of in parts.items()
        }


@contextmanager
def messages() -> Iterator[dict[str, Measurement]]:
    """CPU of the workers for a run, in messages of several runs."""
    with noop() as stack:
        queued: Any = Queued(stack, "noop")

        def measure(size: int) -> float:
            return float(lists.measure(stack, queued, size, 240)[1])

        yield {
            f"{size} runs a message: workers": lambda size=size: measure(size)
            for size in (1, 4, 16)
        }


def cpu_ms(stack: Stack, *names: str) -> float:
    """CPU time of these processes and all their children so far."""
    spent_ns = 0
    for name in names:
        process = psutil.Process(stack.processes[name].pid)
        for each in (process, *process.children(recursive=True)):
            tasks = Path(f"/proc/{each.pid}/task").glob("*/schedstat")
            spent_ns += sum(int(task.read_text().split()[0]) for task in tasks)
    return spent_ns / 1e6


BENCHES = {"hit": hits, "chain": chain, "lists": messages}

if __name__ == "__main__":
    main()
