"""The installation of `make pilot`: real servers and workers on a simulated device, the autoscaler
of `pixelmill up`, and people who send photos."""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import monitoring
import slow_model
from stack import REPOSITORY, Stack

from deploy.local.autoscale import Autoscaler
from deploy.supervision.liveness import Probe
from deploy.supervision.process import Program
from deploy.supervision.supervisor import Supervisor
from storage import catalogue, pilot, pilot_log
from storage.redis.calls import SyncRedis
from storage.states import ENDED

MODEL = "simulated"
MOST_WORKERS = 3
COOLDOWN_S = 5.0
TARGET_S = 2.0
DRAIN_S = 60.0
ENDED_S = 180.0
"""Longest time until a job has ended, however busy the machine."""
PHOTO = (REPOSITORY / "examples" / "chelsea.jpg").read_bytes()
ENV = {
    "PIXELMILL_MODELS": MODEL,
    "PIXELMILL_PROFILES": f"{MODEL}:best",
    "PIXELMILL_DEFAULT_PROFILES": f"{MODEL}:best",
    "PIXELMILL_CPU_PROCESSES": "1",
    "PIXELMILL_DEVICE": "cpu",
    "PIXELMILL_PILOT_TARGET_S": f"{TARGET_S:g}",
    "PIXELMILL_PILOT_SETTLE_S": "20",
    "PIXELMILL_PILOT_COOLDOWN_S": f"{COOLDOWN_S:g}",
    "PIXELMILL_PILOT_CANARY_PERCENT": "50",
    "PIXELMILL_PILOT_TARGET_WAIT_S": "2",
    "PIXELMILL_PILOT_ROOM": "0.15",
    "PIXELMILL_PILOT_WORKERS": f"1..{MOST_WORKERS}",
    "PIXELMILL_MAX_IN_FLIGHT": "0",
    "SIMULATED": "a=50 b=400",
}


@dataclass(frozen=True)
class Answer:
    """What somebody who sent a photo got."""

    at_s: float
    """When, by the monotonic clock."""
    took_s: float
    state: str
    """`done`, another state, or what went wrong."""
    reason: str = ""
    """Why it was degraded; empty if it was not."""


class Mill:
    """Starts everything; `per_s` photos a second are sent from then on."""

    def __init__(self, folder: Path) -> None:
        self.models, self.slow = folder / "models", folder / "slow"
        slow_model.write(self.models, self.slow)
        self.stack = Stack(folder, {**ENV, "PIXELMILL_MODEL_PATHS": str(self.models)})
        self.supervisor = Supervisor(folder / "workers", lambda line: None, lambda: None)
        self.answers: list[Answer] = []
        self.per_s, self._salt, self._pending = 0.0, 0, 0
        self._lock, self._is_over = threading.Lock(), threading.Event()
        self._scaling = threading.Thread(target=self._keep_scaled)

    def start(self) -> None:
        """Everything, with one gpu worker."""
        self.stack.start_servers()
        self.stack.start("cpu-worker", [sys.executable, "-m", "workers", "cpu"])
        self.stack.start_web()
        self._scaling.start()
        self.webhook = monitoring.start(self.stack)
        until(lambda: MODEL in self.link.do(pilot.views()), 90)
        threading.Thread(target=self._send, daemon=True).start()

    def stop(self) -> None:
        """End everything."""
        self.per_s = 0.0
        self._is_over.set()
        if self._scaling.is_alive():
            self._scaling.join()
        self.stack.stop()

    @property
    def link(self) -> SyncRedis:
        return SyncRedis(self.stack.state)

    @property
    def order(self) -> pilot.Order:
        """What the pilot has ordered."""
        return self.link.do(pilot.orders()).of(MODEL)

    @property
    def live(self) -> int:
        """gpu workers that are live."""
        workers = self.link.do(catalogue.read()).workers
        return sum(any(name.startswith("gpu.") for name in of["queues"]) for of in workers)

    def log(self) -> list[pilot_log.Decision]:
        """All decisions, newest first."""
        return self.link.do(pilot_log.read(most=1000))

    def done(self, rule: str) -> list[pilot_log.Decision]:
        """What a rule has done, newest first."""
        return [of for of in self.log() if of.rule == rule and of.outcome == "done"]

    def p95_s(self, seconds: float) -> float:
        """Of the answers of the last seconds; infinite without any."""
        since_s = time.monotonic() - seconds
        took_s = sorted(of.took_s for of in list(self.answers) if of.at_s >= since_s)
        return took_s[int(0.95 * (len(took_s) - 1))] if took_s else float("inf")

    def drain(self) -> None:
        """Send nothing more, and wait for all answers."""
        self.per_s = 0.0
        time.sleep(0.5)
        until(lambda: not self._pending, ENDED_S)

    def ask(self, **params: str) -> dict[str, Any]:
        """The job of a new photo, once it has ended, or after ENDED_S."""
        with self._lock:
            self._salt += 1
            salt = self._salt
        began, api = time.monotonic(), f"{self.stack.url}/api/v1"
        with httpx.Client(headers=self._headers, timeout=90) as client:
            answer = client.post(
                f"{api}/predict/{MODEL}",
                params={"salt": str(salt), "wait": "60", **params},
                content=PHOTO + str(salt).encode(),  # equal photos go to one version
            )
            while answer.is_success and answer.json()["state"] not in ENDED:
                if time.monotonic() - began > ENDED_S:
                    break
                time.sleep(1)
                answer = client.get(f"{api}/jobs/{answer.json()['id']}")
        job: dict[str, Any] = answer.json()
        return job if answer.is_success else {"state": str(answer.status_code)}

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.stack.api_key}"}

    def _keep_scaled(self) -> None:
        """As `pixelmill up --autoscale` does. In one thread: a worker ends with the one that
        started it."""
        command = [sys.executable, "-m", "workers", "gpu"]
        programs = [
            Program(f"gpu-worker-{number}", command, self.stack.env, drain_s=DRAIN_S)
            for number in range(1, MOST_WORKERS + 1)
        ]
        state_url = self.stack.env["PIXELMILL_STATE_URL"]
        self.supervisor.start(programs[0], is_steady=True)
        scaler = Autoscaler(
            self.supervisor,
            programs,
            lambda: Probe(lambda pid: None),
            1,
            state_url,
            lambda line: None,
        )
        self.supervisor.chores.append(scaler.poll)
        while not self._is_over.wait(0.1):
            self.supervisor.poll()
        self.supervisor.stop()

    def _send(self) -> None:
        while not self._is_over.is_set():
            time.sleep(1 / self.per_s if self.per_s else 0.1)
            if self.per_s:
                with self._lock:
                    self._pending += 1
                threading.Thread(target=self._visit, daemon=True).start()

    def _visit(self) -> None:
        began, reason = time.monotonic(), ""
        try:
            job = self.ask()
            state, reason = str(job["state"]), str(job.get("degraded_reason") or "")
        except (httpx.HTTPError, ValueError) as error:
            state = type(error).__name__
        now = time.monotonic()
        self.answers.append(Answer(now, now - began, state, reason))
        with self._lock:
            self._pending -= 1


def until(true: Callable[[], Any], seconds: float) -> float:
    """Seconds until it is so; AssertionError if that takes longer than allowed."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s"
        time.sleep(0.25)
    return time.monotonic() - began
