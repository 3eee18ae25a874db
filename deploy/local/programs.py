"""How Pixelmill's own programs are started: web, cpu worker and Flower."""

import signal
import sys
from collections.abc import Mapping

from deploy.supervision.process import Program


def web(env: Mapping[str, str]) -> Program:
    """A web process, which refuses new work from a stop's announcement on."""
    command = [sys.executable, "-m", "web"]
    return Program("web-1", command, dict(env), stop_notice=signal.SIGUSR1)


def cpu_worker(env: Mapping[str, str], drain_s: float) -> Program:
    """A cpu worker."""
    command = [sys.executable, "-m", "workers", "cpu"]
    return Program("cpu-worker-1", command, dict(env), drain_s=drain_s)


def flower(env: Mapping[str, str], port: int, password: str) -> Program:
    """Flower on loopback, read-only; the user is `admin`."""
    command = [sys.executable, "-m", "celery", "-A", "tasks.app", "flower"]
    command += ["--address=127.0.0.1", f"--port={port}", "--read_only=True"]
    command += ["--max_tasks=5000", "--purge_offline_workers=60", "--logging=warning"]
    return Program("flower", command, {**env, "FLOWER_BASIC_AUTH": f"admin:{password}"})
