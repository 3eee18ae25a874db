"""`pixelmill worker gpu --all`: one gpu worker per GPU of this host, kept running. Never torch."""

import signal
import socket
import sys
from collections.abc import Mapping
from types import FrameType

from deploy.probes import of_worker
from deploy.servers import Program
from deploy.supervisor import CannotStart, Supervisor, hurry_on_signals
from storage import catalogue
from storage.errors import StorageDown
from tasks.clients import state
from tasks.errors import Unavailable
from tasks.settings import Settings, settings
from workers import pinning

READY_S = 600.0
"""The first start may have weights to fetch."""
GIVE_BACK_S = 10.0
"""A worker puts what it could not end back into the queue within this."""


def programs(
    now: Settings, models: str = "", env: Mapping[str, str] | None = None
) -> list[Program]:
    """How to start one worker per GPU; one on the CPU where there is none, or it is asked for.

    Unavailable where a GPU is asked for and there is none: nobody wants that on the CPU.
    """
    found = [] if now.device == "cpu" else pinning.usable()
    if now.device == "cuda" and not found:
        raise Unavailable(
            "PIXELMILL_DEVICE=cuda, but the driver sees no GPU that may be used",
            hint="Install NVIDIA's driver, pass the GPU into the container, or "
            "set PIXELMILL_DEVICE=auto.",
        )
    base = [sys.executable, "-m", "workers", "gpu", *(["--models", models] if models else [])]
    threads = str(pinning.threads(now.threads, max(1, len(found))))
    own = {**(env or {}), "PIXELMILL_THREADS": threads}
    commands = [[*base, "--gpu", str(gpu.number)] for gpu in found] or [base]
    return [
        Program(f"gpu-worker-{number}", command, own, drain_s=drain_s(now))
        for number, command in enumerate(commands, start=1)
    ]


def drain_s(now: Settings) -> float:
    """How long a worker may take to stop: its work, then what is left goes back to the queue."""
    return now.stop_s + GIVE_BACK_S


def run(models: str = "") -> int:
    """Start them all and keep them running until SIGTERM or Ctrl-C; the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    supervisor = Supervisor(None, _say, lambda: None)
    try:
        for program in programs(settings(), models):
            _say(f"starting {' '.join(program.command[1:])}")
            supervisor.start(program, of_worker(settings().state_url, READY_S))
        supervisor.wait_for("a gpu worker", lambda: _is_live(supervisor), READY_S)
        supervisor.mark_ready()
        supervisor.watch()
    except CannotStart as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        _say("stopping")
    finally:
        hurry_on_signals(supervisor)
        supervisor.stop()
    return 0


def _is_live(supervisor: Supervisor) -> bool:
    """Whether one of ours has announced itself."""
    pids, host = set(supervisor.pids.values()), socket.gethostname()
    try:
        workers = state().do(catalogue.read()).workers
    except StorageDown:  # the workers wait for it as well
        return False
    return any(worker["pid"] in pids and worker["host"] == host for worker in workers)


def _say(line: str) -> None:
    print(f"pixelmill worker: {line}", file=sys.stderr, flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
