"""make bench-chain: a no-op model through the real chain, beside a bare Celery chain of three.

One client, one job at a time, from POST /jobs?wait=30 to its answer `done`. CPU is of the worker
processes only, per job.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx
import redis
from load import Answers, closed_loop, request
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
from stack import API_KEY, Stack

JOBS = int(os.environ.get("BENCH_JOBS", "400"))
WARM_UP = 60
MODELS = Path(__file__).parent / "models"
FLAGS = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "error"]
GOALS = {"plain": (7.0, 5.0), "events": (8.0, 5.5), "s3": (12.0, 8.0)}


def main() -> None:
    rows, figures = [], {}
    with tempfile.TemporaryDirectory() as folder:
        bare = _bare(Path(folder) / "bare")
        for name, env in (
            (
                "plain",
                {"PIXELMILL_S3_URL": f"file://{_memory()}", "PIXELMILL_TASK_EVENTS": "false"},
            ),
            ("events", {"PIXELMILL_S3_URL": f"file://{_memory()}"}),
            ("s3", {"PIXELMILL_TASK_EVENTS": "false"}),
        ):
            figures |= _ours(name, Path(folder) / name, env)
    rows.append(["bare Celery chain of three", *_cells(bare)])
    titles = {
        "plain": "Pixelmill, no S3, no events",
        "events": "Pixelmill, no S3, events for Flower",
        "s3": "Pixelmill, one S3 GET and PUT, no events",
    }
    for name, title in titles.items():
        row = {key: figures[f"{name}_{key}"] for key in ("p50_ms", "p95_ms", "worker_cpu_ms")}
        rows.append([title, *_cells(row)])
    show(f"{JOBS} jobs, one at a time", ["what", "p50 ms", "p95 ms", "worker CPU ms/job"], rows)
    print(f"events received of expected: {figures['events_share']:.4f}\n")
    for name, (p50_ms, cpu_ms) in GOALS.items():
        verdict(f"{name} p50 ms", figures[f"{name}_p50_ms"], p50_ms)
        verdict(f"{name} worker CPU ms per job", figures[f"{name}_worker_cpu_ms"], cpu_ms)
    figures |= {f"bare_{key}": value for key, value in bare.items()}
    figures["times_bare"] = round(figures["plain_p50_ms"] / bare["p50_ms"], 3)
    verdict("p50 against bare", figures["times_bare"], 1.5)
    verdict("events lost", round(1 - figures["events_share"], 4), 0)
    save("chain", figures)


def _memory() -> str:
    """A folder in memory that stands for S3 where its cost is not the question."""
    return tempfile.mkdtemp(prefix="pixelmill-bench-", dir="/dev/shm")


def _cells(row: dict[str, float]) -> list[str]:
    return [f"{row[key]:.2f}" for key in ("p50_ms", "p95_ms", "worker_cpu_ms")]


def _ours(name: str, folder: Path, env: dict[str, str]) -> dict[str, float]:
    folder.mkdir(parents=True)
    chosen = {"PIXELMILL_MODELS": "noop", "PIXELMILL_MODEL_PATHS": str(MODELS), **env}
    chosen["PIXELMILL_CPU_PROCESSES"] = "1"
    with Stack(folder, chosen).start_all() as stack:
        upload = _upload(stack)
        salts = itertools.count()
        headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
        url = f"{stack.url}/api/v1/jobs?wait=30"
        requests = (
            request(url, headers, json.dumps(_job(upload, salt)).encode()) for salt in salts
        )
        closed_loop(url, requests, clients=1, most=WARM_UP)
        counted = _Events(stack) if name == "events" else None
        before = stack.cpu_s("cpu-worker", "gpu-worker")
        answers = closed_loop(url, requests, clients=1, most=JOBS)
        spent_ms = (stack.cpu_s("cpu-worker", "gpu-worker") - before) * 1000
        assert answers.statuses == {200: JOBS}, answers.statuses
        found = {f"{name}_{key}": value for key, value in _figures(answers, spent_ms).items()}
        if counted:
            found["events_share"] = counted.share()
        return found


def _job(upload: str, salt: int) -> dict[str, object]:
    return {"upload": upload, "model": "noop", "params": {"salt": salt}}


def _upload(stack: Stack) -> str:
    """An upload that is there, for jobs to name."""
    photo = (Path(__file__).parent.parent.parent / "examples" / "chelsea.jpg").read_bytes()
    headers = {"Authorization": f"Bearer {API_KEY}"}
    answer = httpx.post(
        f"{stack.url}/api/v1/predict/noop?salt=-1&wait=30", content=photo, headers=headers
    )
    assert answer.status_code == 200, answer.text
    return stack.state.hget(f"px1:job:{answer.json()['id']}", "upload").decode()


def _figures(answers: Answers, spent_ms: float) -> dict[str, float]:
    return {
        "p50_ms": round(answers.p50, 3),
        "p95_ms": round(answers.percentile(0.95), 3),
        "worker_cpu_ms": round(spent_ms / len(answers.latencies_ms), 3),
    }


class _Events:
    """Counts the events that Flower would see."""

    KINDS = ("task-received", "task-started", "task-succeeded")

    def __init__(self, stack: Stack) -> None:
        from celery import Celery

        app = Celery(broker=stack.env["PIXELMILL_STATE_URL"])
        app.conf.broker_transport_options = {"global_keyprefix": "px1:q:"}
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

    def share(self) -> float:
        time.sleep(1.5)
        expected = 3 * JOBS * len(self.KINDS)
        return sum(self.seen.values()) / expected


def _bare(folder: Path) -> dict[str, float]:
    folder.mkdir(parents=True)
    with Stack(folder) as stack:
        stack.start_servers()
        broker = stack.env["PIXELMILL_STATE_URL"]
        urls = {"BARE_BROKER": broker, "BARE_BACKEND": broker[:-1] + "1"}
        stack.env |= {**urls, "PYTHONPATH": str(Path(__file__).parent)}
        celery = [sys.executable, "-m", "celery", "-A", "bare", "worker", *FLAGS]
        stack.start("cpu", [*celery, "-P", "prefork", "-c", "1", "-Q", "cpu", "-n", "cpu@bare"])
        stack.start("gpu", [*celery, "-P", "threads", "-c", "48", "-Q", "gpu", "-n", "gpu@bare"])
        command = [sys.executable, "-m", "bare", str(WARM_UP), str(JOBS)]
        with subprocess.Popen(
            command, env=stack.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as client:
            assert client.stdin and client.stdout
            assert client.stdout.readline() == "warm\n"
            before = stack.cpu_s("cpu", "gpu")
            print("go", file=client.stdin, flush=True)
            latencies = json.loads(client.stdout.readline())
            spent_ms = (stack.cpu_s("cpu", "gpu") - before) * 1000
            print("end", file=client.stdin, flush=True)
        return _figures(Answers(latencies, {}, 1), spent_ms)


if __name__ == "__main__":
    main()
