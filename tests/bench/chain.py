"""make bench-chain: a no-op model through the real chain, beside a bare Celery chain of three.

One client, one job at a time, from POST /jobs?wait=30 to its answer `done`. CPU is of the worker
processes only, per job. All four stand side by side and take turns, so that a machine whose speed
changes by the minute is the same machine for each of them.
"""

import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import redis
from load import Answers, closed_loop, request
from options import parser, setting
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
from stack import API_KEY, Stack

from storage import keys

JOBS = setting("JOBS", 400, "jobs of each side")
ROUNDS = 8
WARM_UP = 60
MODELS = Path(__file__).parent / "models"
FLAGS = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "error"]
GOALS = {"plain": (1.0, 0.9), "events": (1.15, 0.97), "s3": (1.6, 1.3)}
"""p50 and worker CPU, as multiples of the bare chain's in the same run."""


def main() -> None:
    parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stacks:
        sides: dict[str, Side] = {
            name: stacks.enter_context(make(Path(folder) / name)) for name, make in SIDES.items()
        }
        for _ in range(ROUNDS):
            for side in sides.values():
                side.take_turn(JOBS // ROUNDS)
        events_share = sides["events"].events_share()
    rows, figures = [], {"events_share": events_share}
    for name, side in sides.items():
        measured = side.figures()
        rows.append([TITLES[name], *(f"{value:.2f}" for value in measured.values())])
        figures |= {f"{name}_{key}": value for key, value in measured.items()}
    show(f"{JOBS} jobs, one at a time", ["what", "p50 ms", "p95 ms", "worker CPU ms/job"], rows)
    print(f"events received of expected: {events_share:.4f}\n")
    for name, goals in GOALS.items():
        for kind, goal in zip(("p50_ms", "worker_cpu_ms"), goals, strict=True):
            times = round(figures[f"{name}_{kind}"] / figures[f"bare_{kind}"], 3)
            figures[f"{name}_{kind}_times_bare"] = times
            verdict(f"{name} {kind.removesuffix('_ms')}, times bare", times, goal)
    verdict("events lost", round(1 - events_share, 4), 0)
    save("chain", figures)


class Side:
    """One of the contestants: its servers, and what its turns have given so far."""

    workers: tuple[str, ...]

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.latencies_ms: list[float] = []
        self.spent_ms = 0.0

    def take_turn(self, jobs: int) -> None:
        """So many jobs one after another, their latencies and the workers' CPU noted."""
        before = self.stack.cpu_s(*self.workers)
        self.latencies_ms += self.run(jobs)
        self.spent_ms += (self.stack.cpu_s(*self.workers) - before) * 1000

    def run(self, jobs: int) -> list[float]:
        raise NotImplementedError

    def figures(self) -> dict[str, float]:
        answers = Answers(self.latencies_ms, {}, 1)
        return {
            "p50_ms": round(answers.p50, 3),
            "p95_ms": round(answers.percentile(0.95), 3),
            "worker_cpu_ms": round(self.spent_ms / len(self.latencies_ms), 3),
        }


class Ours(Side):
    """Pixelmill's chain by POST /jobs."""

    workers = ("cpu-worker", "gpu-worker")

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        upload, salts = stack.upload("noop"), itertools.count()
        headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
        self.url = f"{stack.url}/api/v1/jobs?wait=30"
        self.requests = (
            request(self.url, headers, json.dumps(_job(upload, salt)).encode()) for salt in salts
        )
        self.run(WARM_UP)
        self.counted = _Events(stack) if stack.env["PIXELMILL_TASK_EVENTS"] == "true" else None

    def run(self, jobs: int) -> list[float]:
        answers = closed_loop(self.url, self.requests, clients=1, most=jobs)
        assert answers.statuses == {200: jobs}, answers.statuses
        return answers.latencies_ms

    def events_share(self) -> float:
        """Part of the events of all jobs that reached the witness."""
        assert self.counted
        return self.counted.share(len(self.latencies_ms))


class Bare(Side):
    """Stock Celery, in a client process of its own."""

    workers = ("cpu", "gpu")

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        command = [sys.executable, "-m", "bare"]
        self.client = subprocess.Popen(
            command, env=stack.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.run(WARM_UP)

    def run(self, jobs: int) -> list[float]:
        assert self.client.stdin and self.client.stdout
        print(jobs, file=self.client.stdin, flush=True)
        return list(json.loads(self.client.stdout.readline()))

    def stop(self) -> None:
        assert self.client.stdin
        self.client.stdin.close()
        self.client.wait(10)


@contextmanager
def _ours(folder: Path, s3: bool = False, events: bool = False) -> Iterator[Side]:
    folder.mkdir(parents=True)
    env = {
        "PIXELMILL_MODELS": "noop",
        "PIXELMILL_MODEL_PATHS": str(MODELS),
        "PIXELMILL_CPU_PROCESSES": "1",
        "PIXELMILL_TASK_EVENTS": str(events).lower(),
    }
    with tempfile.TemporaryDirectory(prefix="pixelmill-bench-", dir="/dev/shm") as memory:
        if not s3:  # a folder in memory stands for S3 where its cost is not the question
            env["PIXELMILL_S3_URL"] = f"file://{memory}"
        with Stack(folder, env).start_all() as stack:
            yield Ours(stack)


@contextmanager
def _bare(folder: Path) -> Iterator[Side]:
    folder.mkdir(parents=True)
    with Stack(folder) as stack:
        stack.start_servers()
        broker = stack.env["PIXELMILL_STATE_URL"]
        urls = {"BARE_BROKER": broker, "BARE_BACKEND": broker[:-1] + "1"}
        stack.env |= {**urls, "PYTHONPATH": str(Path(__file__).parent)}
        celery = [sys.executable, "-m", "celery", "-A", "bare", "worker", *FLAGS]
        stack.start("cpu", [*celery, "-P", "prefork", "-c", "1", "-Q", "cpu", "-n", "cpu@bare"])
        stack.start("gpu", [*celery, "-P", "threads", "-c", "48", "-Q", "gpu", "-n", "gpu@bare"])
        side = Bare(stack)
        yield side
        side.stop()


SIDES: dict[str, Callable[[Path], AbstractContextManager[Side]]] = {
    "bare": _bare,
    "plain": _ours,
    "events": partial(_ours, events=True),
    "s3": partial(_ours, s3=True),
}
TITLES = {
    "bare": "bare Celery chain of three",
    "plain": "Pixelmill, no S3, no events",
    "events": "Pixelmill, no S3, events for Flower",
    "s3": "Pixelmill, one S3 GET and PUT, no events",
}


def _job(upload: str, salt: int) -> dict[str, object]:
    return {"upload": upload, "model": "noop", "params": {"salt": salt}}


class _Events:
    """Counts the events that Flower would see."""

    KINDS = ("task-received", "task-started", "task-succeeded")

    def __init__(self, stack: Stack) -> None:
        from celery import Celery

        app = Celery(broker=stack.env["PIXELMILL_STATE_URL"])
        app.conf.broker_transport_options = {"global_keyprefix": keys.BROKER_PREFIX}
        self.seen: Counter[str] = Counter()
        self.app, self.ready = app, threading.Event()
        time.sleep(1)  # those of the warm-up are on their way
        threading.Thread(target=self._run, daemon=True).start()
        self.ready.wait(5)
        time.sleep(0.5)

    def _run(self) -> None:
        handlers = {kind: self._count for kind in self.KINDS}
        # The broker goes away at the end; that is no news.
        with suppress(redis.RedisError, OSError), self.app.connection() as connection:
            receiver = self.app.events.Receiver(connection, handlers=handlers)
            self.ready.set()
            receiver.capture(limit=None, timeout=None, wakeup=False)

    def _count(self, event: dict[str, object]) -> None:
        self.seen[str(event["type"])] += 1

    def share(self, jobs: int) -> float:
        time.sleep(1.5)
        return sum(self.seen.values()) / (3 * jobs * len(self.KINDS))


if __name__ == "__main__":
    main()
