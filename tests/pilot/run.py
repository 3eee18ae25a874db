"""`make pilot`: the pilot keeps a real installation level, on a simulated device; prints a table.

Each step changes the world and waits for what the pilot makes of it: four times the load, a version
that fails, a Redis that is silent.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent))
from stack import REPOSITORY, Stack

from storage import catalogue, pilot, pilot_log
from storage.redis.calls import SyncRedis

MODEL = "simulated"
PHOTO = (REPOSITORY / "examples" / "chelsea.jpg").read_bytes()
FAILS = """
_infer = MODEL.infer


def _sometimes(device, batch):
    if any(int(image[0, 0, 0]) % 5 == 1 for image in batch):
        raise ValueError("this version fails for every fifth image")
    return _infer(device, batch)


MODEL = dataclasses.replace(MODEL, infer=_sometimes, max_batch=1)
"""
ENV = {
    "PIXELMILL_MODELS": MODEL,
    "PIXELMILL_CPU_PROCESSES": "1",
    "PIXELMILL_PILOT_SETTLE_S": "20",
    "PIXELMILL_PILOT_COOLDOWN_S": "5",
    "PIXELMILL_PILOT_CANARY_PERCENT": "50",
    "PIXELMILL_PILOT_TARGET_WAIT_S": "2",
    "PIXELMILL_PILOT_WORKERS": "1..3",
    "SIMULATED": "a=50 b=400",
    "PIXELMILL_MAX_IN_FLIGHT": "0",
}


class Mill:
    """The installation, and who sends photos to it."""

    def __init__(self, folder: Path) -> None:
        self.models = folder / "models"
        self.models.mkdir()
        shutil.copy(REPOSITORY / "tests" / "models" / "simulated.py", self.models)
        self.stack = Stack(folder, {**ENV, "PIXELMILL_MODEL_PATHS": str(self.models)})
        self.ended: list[tuple[float, str, float]] = []
        """(when, state, seconds) of each photo."""
        self.per_s, self._salt = 0.0, 0
        threading.Thread(target=self._send, daemon=True).start()

    @property
    def link(self) -> SyncRedis:
        return SyncRedis(self.stack.state)

    def start_gpu_worker(self, name: str, **env: str) -> None:
        self.stack.start(name, [sys.executable, "-m", "workers", "gpu"], env)

    def order(self) -> pilot.Order:
        return self.link.do(pilot.orders()).of(MODEL)

    def done(self, rule: str) -> list[pilot_log.Decision]:
        """What a rule has done, newest first."""
        found = self.link.do(pilot_log.read(most=500))
        return [of for of in found if of.rule == rule and of.outcome == "done"]

    def _send(self) -> None:
        while True:
            time.sleep(1 / self.per_s if self.per_s else 0.1)
            if self.per_s:
                self._salt += 1
                threading.Thread(target=self._ask, args=(self._salt,), daemon=True).start()

    def _ask(self, salt: int) -> None:
        began = time.monotonic()
        url = f"{self.stack.url}/api/v1/predict/{MODEL}?salt={salt}&wait=60"
        headers = {"Authorization": f"Bearer {self.stack.api_key}"}
        try:
            photo = PHOTO + str(salt).encode()  # equal photos go to one version
            answer = httpx.post(url, content=photo, headers=headers, timeout=90)
            state = str(answer.json().get("state") or answer.status_code)
        except (httpx.HTTPError, ValueError) as error:
            state = type(error).__name__
        self.ended.append((time.monotonic(), state, time.monotonic() - began))


def until(true: Callable[[], Any], seconds: float) -> float:
    """Seconds until it is so; AssertionError if that takes longer than allowed."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s"
        time.sleep(0.5)
    return time.monotonic() - began


def load_step(mill: Mill) -> str:
    """Four times the load: three workers are wanted within 30 s, and fewer after it."""
    mill.per_s = 1
    time.sleep(15)
    assert mill.order().workers == 1
    mill.per_s = 4
    took_s = until(lambda: mill.order().workers == 3, 60)
    for number in (2, 3):
        mill.start_gpu_worker(f"gpu-worker-{number}")
    until(lambda: len(mill.link.do(catalogue.read()).workers) == 4, 120)
    time.sleep(20)
    mill.per_s = 0.5
    down_s = until(lambda: mill.order().workers == 1, 120)
    for number in (2, 3):
        mill.stack.processes[f"gpu-worker-{number}"].send_signal(signal.SIGTERM)
    lost = [state for _, state, _ in mill.ended if state != "done"]
    assert not lost, lost
    return (
        f"1 -> 3 after {took_s:.0f} s, 3 -> 1 after {down_s:.0f} s, {len(mill.ended)} runs, 0 lost"
    )


def failing_version(mill: Mill) -> str:
    """A version that fails for every fifth photo is tried on half the runs, and rolled back."""
    until(lambda: mill.order().version, 30)
    before = mill.order().version
    folder = mill.stack.folder / "new-models"
    folder.mkdir()
    source = (mill.models / "simulated.py").read_text()
    (folder / "simulated.py").write_text(f"import dataclasses\n{source}{FAILS}")
    env = {"PIXELMILL_MODEL_PATHS": str(folder)}
    mill.stack.start("cpu-worker-new", [sys.executable, "-m", "workers", "cpu"], env)
    mill.start_gpu_worker("gpu-worker-new", **env)
    until(lambda: mill.order().canary, 120)
    bad, mill.per_s = mill.order().canary, 2
    until(lambda: _ended(mill, bad) >= 50, 180)
    took_s = until(lambda: bad in mill.order().refused, 60)
    assert mill.order().version == before
    [decision] = mill.done("roll back")
    share = decision.values["failures"]
    return f"{took_s:.0f} s after its 50th run: {share:.0%} of {decision.samples} had failed"


def silent_redis(mill: Mill) -> str:
    """The state Redis does not answer: nothing is decided, and afterwards it goes on."""
    mill.per_s = 0
    time.sleep(6)
    before = len(mill.link.do(pilot_log.read(most=500)))
    process = mill.stack.processes["state"]
    process.send_signal(signal.SIGSTOP)
    time.sleep(12)
    process.send_signal(signal.SIGCONT)
    after = len(mill.link.do(pilot_log.read(most=500)))
    assert after == before, after - before
    until(lambda: pilot.is_fresh(mill.link.do(pilot.views())[MODEL], time.time() * 1000), 40)
    return "0 decisions in 12 s of silence"


def _ended(mill: Mill, version: str) -> int:
    fields = mill.stack.state.hgetall(f"px3:metrics:{MODEL}:all")
    names = (f"done@{version}", f"failed@{version}")
    return sum(int(fields.get(name.encode(), 0)) for name in names)


STEPS = {
    "load step": load_step,
    "failing version": failing_version,
    "silent Redis": silent_redis,
}


def main() -> None:
    """Every step; exit code 1 if one of them does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=STEPS, help="one step alone")
    only, failed = parser.parse_args().only, 0
    with tempfile.TemporaryDirectory() as folder:
        mill = Mill(Path(folder))
        try:
            mill.stack.start_all()
            for name, step in STEPS.items():
                if only in (None, name):
                    failed += _show(name, step, mill)
            for decision in reversed(mill.link.do(pilot_log.read(most=100))):
                print(f"  {decision.rule:10} {decision.outcome:10} {decision.reason}")
        finally:
            mill.stack.stop()
    raise SystemExit(min(failed, 1))


def _show(name: str, step: Callable[[Mill], str], mill: Mill) -> int:
    try:
        said, mark = step(mill), "ok"
    except AssertionError as error:
        said, mark = str(error) or "it did not hold", "FAILED"
    print(f"{name:16} {mark:7} {said}", flush=True)
    return int(mark != "ok")


if __name__ == "__main__":
    main()
