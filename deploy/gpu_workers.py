"""`pixelmill worker gpu --all`: keeps one gpu worker per GPU of this host running. Never torch."""

import signal
import socket
import sys
from collections.abc import Mapping
from types import FrameType

from deploy.supervision import probes
from deploy.supervision.process import CannotStart, Program
from deploy.supervision.supervisor import Supervisor, shorten_stop_on_signals
from storage import catalogue
from storage.errors import StorageDown
from tasks.clients import state
from tasks.errors import Unavailable
from tasks.models import engines
from tasks.models.engines import Engine
from tasks.settings import Settings, settings
from workers import pinning

READY_S = 600.0
"""How long a worker may take to start: at the first start it may have to fetch weights."""
REQUEUE_S = 10.0
"""How long a worker may take to put unfinished work back into the queue."""


def programs(
    settings: Settings, models: str = "", env: Mapping[str, str] | None = None, count: int = 0
) -> list[Program]:
    """One worker per GPU; one on the CPU if there is no GPU, or if the settings ask for the CPU.

    `models`: comma-separated; empty for those of the settings. `count`: so many instead, which
    share the CPU if there is no GPU. Raises Unavailable if the settings ask for a GPU and there is
    none, as nobody who does so wants the CPU; and if there are fewer GPUs than workers.
    """
    gpus = [] if settings.device == "cpu" else pinning.usable()
    if settings.device == "cuda" and not gpus:
        raise Unavailable(
            "PIXELMILL_DEVICE=cuda, but the driver sees no GPU that may be used",
            hint="Install NVIDIA's driver, pass the GPU into the container, or "
            "set PIXELMILL_DEVICE=auto.",
        )
    base = [sys.executable, "-m", "workers", "gpu", *(["--models", models] if models else [])]
    if gpus and count > len(gpus):
        raise Unavailable(
            f"{count} gpu workers need {count} GPUs; there are {len(gpus)}",
            hint="Each worker owns its GPU: ask for no more workers than there are GPUs.",
        )
    workers = count or max(1, len(gpus))
    threads = str(pinning.threads(settings.threads, workers))
    variables = {**(env or {}), "PIXELMILL_THREADS": threads}
    commands = [[*base, "--gpu", str(gpu.number)] for gpu in gpus[:workers]]
    commands = commands or [base] * workers
    return [
        Program(f"gpu-worker-{number}", command, variables, drain_s=drain_s(settings))
        for number, command in enumerate(commands, start=1)
    ]


def engine(settings: Settings) -> Engine:
    """What runs networks in the gpu workers of this host; where torch may find a GPU, torch."""
    has_gpu = settings.device != "cpu" and pinning.has_driver()
    return engines.choose("cuda" if has_gpu else "cpu", settings)


def drain_s(settings: Settings) -> float:
    """How long a worker may take to stop: to finish its work, then to put back the rest."""
    return settings.stop_s + REQUEUE_S


def run(models: str = "") -> int:
    """Start the workers and keep them running until SIGTERM or Ctrl-C; returns the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    supervisor = Supervisor(None, _report, lambda: None)
    try:
        for program in programs(settings(), models):
            _report(f"starting {' '.join(program.command[1:])}")
            supervisor.start(program, probes.worker(settings().state_url, READY_S))
        supervisor.wait_for("a gpu worker", lambda: _is_live(supervisor), READY_S)
        supervisor.mark_ready()
        supervisor.watch()
    except CannotStart as error:
        _report(str(error))
        return 1
    except KeyboardInterrupt:
        _report("stopping")
    finally:
        shorten_stop_on_signals(supervisor)
        supervisor.stop()
    return 0


def _is_live(supervisor: Supervisor) -> bool:
    """Whether one of these workers is in the catalogue."""
    pids, host = set(supervisor.pids.values()), socket.gethostname()
    try:
        workers = state().do(catalogue.read()).workers
    except StorageDown:  # the workers wait for it as well
        return False
    return any(worker["pid"] in pids and worker["host"] == host for worker in workers)


def _report(line: str) -> None:
    print(f"pixelmill worker: {line}", file=sys.stderr, flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
