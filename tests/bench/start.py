"""make bench-start: how long `make up` takes to the first answered photo, the second time.

The first start of an installation makes its folder; the second one is measured, with its weights on
the disk and the system's file cache warm, several times. What it waits for is asked once in 50 ms:
each program is ready when it answers.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import redis
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ.setdefault("PIXELMILL_WEIGHTS_DIR", str(Path("var/weights").absolute()))
from local_up import Up
from processes import cpu_s, tree
from stack import free_port

GOAL_S = 6.0
WAIT_S = 120.0
PHOTO = "the first photo is answered"
PAGE = "the page answers"


def main() -> None:
    """Run, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        _started(Path(folder), port)
        rounds = [_started(Path(folder), port) for _ in range(options.rounds)]
    medians = {
        what: statistics.median(one[what] for one in rounds)
        for what in sorted(rounds[-1], key=rounds[-1].__getitem__)
    }
    used_s = medians.pop("CPU-s of all processes")
    rows = [(what, f"{seconds:.1f}") for what, seconds in medians.items()]
    show(f"The second start, median of {options.rounds}", ("what", "s"), rows)
    print(f"\nCPU until then: {used_s:.1f} s")
    verdict("to the first answered photo, s", round(medians[PHOTO], 2), GOAL_S)
    save("start", {what: round(value, 2) for what, value in medians.items()} | {"cpu_s": used_s})


def _started(folder: Path, port: int) -> Mapping[str, float]:
    """What there was to wait for -> seconds until it was there."""
    began = time.monotonic()
    came: dict[str, float] = {}
    up = Up(folder, "--port", str(port))
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(up, _questions(up, url), began, came)
        up.predict().raise_for_status()
        came[PHOTO] = time.monotonic() - began
        came["CPU-s of all processes"] = cpu_s(tree(up.process.pid), with_ended=True)
        # Last, as to ask for the page makes the web process import Gradio at once.
        _wait(
            up, {PAGE: lambda: httpx.get(f"{url}/ui/", timeout=30).status_code == 200}, began, came
        )
        return came
    finally:
        up.stop()


def _wait(
    up: Up, waiting: dict[str, Callable[[], bool]], began: float, came: dict[str, float]
) -> None:
    """Ask until everything is there; writes the seconds into `came`."""
    while waiting:
        if up.process.poll() is not None or time.monotonic() - began > WAIT_S:
            sys.exit(f"not everything came: {', '.join(waiting)}\n{up.said}")
        for what, has_come in list(waiting.items()):
            with suppress(OSError, ValueError, KeyError, httpx.HTTPError, redis.RedisError):
                if has_come():
                    came[what] = time.monotonic() - began
                    del waiting[what]
        time.sleep(0.05)


def _questions(up: Up, url: str) -> dict[str, Callable[[], bool]]:
    """What is waited for -> whether it is there."""

    def is_live() -> bool:
        headers = {"Authorization": f"Bearer {up.run['api_key']}"}
        models = httpx.get(f"{url}/api/v1/models", headers=headers).json()["models"]
        return any(model["live"] for model in models)

    return {
        "state Redis and S3 run": lambda: {"state-redis", "s3"} <= up.pids.keys(),
        "web answers": lambda: httpx.get(f"{url}/healthz").status_code == 200,
        "a gpu worker has loaded its model": is_live,
        "`up` says that it is ready": lambda: "is ready" in up.said,
    }


if __name__ == "__main__":
    main()
