"""make bench-drain: what a gpu worker that is told to stop amid work does with what it holds.

Photos wait in the queue of the matting model; while the device is at them the worker gets SIGTERM,
and once it is gone another one is started. Without a web process: runs are claimed and queued as
one would. On whatever device there is (PIXELMILL_DEVICE), a GPU too.
"""

import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from options import parser, setting
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))

from stack import REPOSITORY, Stack

from storage import catalogue, keys, object_keys
from storage.jobs import claims
from storage.jobs.backlog import enqueue_claimed
from storage.jobs.spec import RunRef, Spec
from storage.redis import calls
from tasks import envelope

RUNS = setting("JOBS", 64, "photos that wait")
A_MESSAGE = 4
MODEL = "matting"
STOP_S = 60.0
"""PIXELMILL_STOP_S by default; what has not ended by then is given back, which takes a moment."""
GIVE_BACK_S = 3.0
PATIENCE_S = 600


def main() -> None:
    """Stop a worker amid work, start another, look at what became of every run."""
    parser(__doc__).parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory(prefix="pixelmill-bench-", dir="/dev/shm") as memory,
    ):
        env = {"PIXELMILL_MODELS": MODEL, "PIXELMILL_S3_URL": f"file://{memory}"}
        with Stack(Path(folder), env) as stack:
            stack.start_redis("state", "--appendonly", "yes")
            stack.start_redis("cache")
            stack.start_workers()
            save("drain", stopped_amid_work(stack, Path(memory)))


def stopped_amid_work(stack: Stack, objects: Path) -> dict[str, float]:
    """The figures; prints the table."""
    wait(stack, lambda: _card(stack) is not None)
    began = time.monotonic()
    refs = queue(stack, objects, 8)  # so that the device is warm
    wait(stack, lambda: not stack.state.zcard(keys.ACTIVE))
    warm_s = time.monotonic() - began
    refs = queue(stack, objects, RUNS, first=8)
    wait(stack, lambda: states(stack, refs)["inferring"] > 0)
    before = states(stack, refs)
    worker, stop_began = stack.processes["gpu-worker"], time.monotonic()
    os.kill(worker.pid, signal.SIGTERM)
    code = worker.wait(2 * STOP_S)
    stopped_s = time.monotonic() - stop_began
    between = states(stack, refs)
    stack.start("gpu-worker", [sys.executable, "-m", "workers", "gpu"])
    wait(stack, lambda: not stack.state.zcard(keys.ACTIVE))
    after = states(stack, refs)
    again = sum(int(stack.state.hget(keys.run(ref.key), "attempt") or 0) > 1 for ref in refs)
    rows = [
        ["at SIGTERM", dict(before)],
        ["when it was gone", dict(between)],
        ["in the end", dict(after)],
        ["why some failed", dict(failures(stack, refs))],
    ]
    device = str((_card(stack) or {}).get("device"))
    show(f"{RUNS} photos, device {device}, 8 photos in {warm_s:.1f} s", ["", "runs"], rows)
    print(f"exit code {code}")
    verdict("s from SIGTERM to the worker's end", round(stopped_s, 2), STOP_S + GIVE_BACK_S)
    verdict("runs that did not end well", RUNS - after["done"], 0)
    verdict("runs that had to begin again", again, 0)
    return {"stopped_s": round(stopped_s, 2), "exit_code": code, "done": after["done"],
            "begun_again": again, "in_hand": between["done"] - before["done"]}  # fmt: skip


def queue(stack: Stack, objects: Path, count: int, first: int = 0) -> list[RunRef]:
    """Claim and queue so many photos, all different; their runs."""
    card = _card(stack)
    assert card is not None
    link, photo = (
        calls.SyncRedis(stack.state),
        (REPOSITORY / "examples" / "astronaut.jpg").read_bytes(),
    )
    refs = []
    for number in range(first, first + count):
        upload = f"{number:032}"
        path = objects / object_keys.upload_object("bench", upload)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo + b"%d" % number)  # bytes behind the end make another file of it
        key = f"drain-{number:08}".ljust(64, "0")  # arrays are named by how it begins
        spec = Spec(key, "bench", MODEL, {}, ["alpha"], upload, card["weights"], card["code"])
        claim = claims.claim(key[:32], spec, priority="batch", job_ttl_s=3600, deadline_s=900)
        refs.append(RunRef(key, link.do(claim).attempt))
    for ref in refs:
        link.do(enqueue_claimed(ref, 20 / A_MESSAGE, envelope.tickets()))
    return refs


def states(stack: Stack, refs: list[RunRef]) -> Counter[str]:
    """State of a run -> how many are in it."""
    return Counter((stack.state.hget(keys.run(ref.key), "state") or b"?").decode() for ref in refs)


def failures(stack: Stack, refs: list[RunRef]) -> Counter[str]:
    """Code of an error -> how many runs ended with it."""
    errors = (stack.state.hget(keys.run(ref.key), "error") for ref in refs)
    return Counter(json.loads(error)["code"] for error in errors if error)


def _card(stack: Stack) -> Any:
    return calls.SyncRedis(stack.state).do(catalogue.read()).models.get(MODEL)


def wait(stack: Stack, is_so: Callable[[], bool]) -> None:
    """Poll; fails with the workers' logs when it takes too long."""
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > end:
            logs = [(stack.folder / f"{name}-worker.log").read_text() for name in ("cpu", "gpu")]
            raise TimeoutError("\n".join(log[-3000:] for log in logs))
        time.sleep(0.02)


if __name__ == "__main__":
    main()
