"""`pixelmill up`: starts servers, web and workers on this machine, and keeps them running."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import FrameType

import httpx
import redis
from rich.console import Console
from rich.markup import escape

from deploy import bootstrap, gpu_workers
from deploy.local import autoscale, checks, embedded, programs, run_file, welcome
from deploy.local import installation as installations
from deploy.local.installation import LOOPBACK, Installation
from deploy.local.run_file import RunFile
from deploy.local.state_loss import StateLoss
from deploy.supervision import probes
from deploy.supervision.log_files import Limits
from deploy.supervision.process import CannotStart, created_at, stop_leftovers
from deploy.supervision.supervisor import Supervisor, shorten_stop_on_signals
from storage import api_keys, catalogue, keys, users
from storage.errors import StorageDown
from storage.redis.calls import NUMBER, SyncRedis, command
from storage.scratch import FolderScratch
from tasks.clients import s3_of
from tasks.errors import Unavailable
from tasks.settings import MIB, Settings, names_in, read

CPU_READY_S = 180.0
"""How long a cpu worker may take to start."""
WRITE_AGAIN_S = 5.0
"""After so long a run file that could not be written is written again."""

PREPARE_S = 5.0
"""How long the state Redis may take for each answer while it is prepared: meanwhile nothing is
watched, and a write to its disk may take 3 s."""

console = Console(stderr=False, highlight=False)


def up(**options: str | int | None) -> int:
    """Start everything, print where it is, keep it running until Ctrl-C; returns the exit code.

    `options`: settings that the command line gives; None for those that it does not.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    given = {name: value for name, value in options.items() if value is not None}
    # Without var/env, which we wrote: what is in there is not a wish of the user.
    settings, local = read(".env", **given), None
    try:
        local = Local(settings)
        local.start()
        local.supervisor.watch()
    except (CannotStart, Unavailable, StorageDown) as error:
        console.print("[red]pixelmill up:[/]", escape(str(error)), soft_wrap=True)
        return 1
    except OSError as error:
        if not (reason := checks.cannot_write(error, settings.var_dir)):
            raise
        console.print("[red]pixelmill up:[/]", escape(reason), soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        _print("stopping: new work is refused, unfinished work is completed")
    finally:
        if local:
            local.stop()
    return 0


class Local:
    """One installation on this machine."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.var = settings, settings.var_dir
        self.var.mkdir(parents=True, exist_ok=True, mode=0o700)
        limits = Limits(int(settings.log_mib * MIB), settings.log_days)
        self.supervisor = Supervisor(self.var / "logs", self._report, self._write_run_file, limits)
        self._installation: Installation | None = None
        """Known once `start` has taken over the folder."""
        self._env: dict[str, str] = {}
        self._has_first_password = False
        self._owns_folder = False
        self._write_failed_s: float | None = None
        self._http = httpx.Client(trust_env=False, timeout=2)  # no proxy leads to loopback
        self._fetching: subprocess.Popen[bytes] | None = None

    @property
    def _page_url(self) -> str:
        """The page as this machine reaches it."""
        host = LOOPBACK if self.settings.host in ("0.0.0.0", "::") else self.settings.host
        return f"http://{host}:{self.settings.port}"

    def start(self) -> None:
        """Start everything in order; returns when every model has a live worker."""
        began = time.monotonic()
        self._take_over()
        installation = self._installation = installations.load(self.var, console.print)
        checks.page_port(self.settings)
        checks.models(self.settings)
        self._env = installations.environment(installation, self.settings)
        installations.write_environment(self.var, self._env)
        self._clear_scratch()
        url = self.settings.public_url or self._page_url
        embedded.start(
            self.supervisor, self.settings, installation, origin=url, report=self._report
        )
        self._prepare(installation)
        loss = StateLoss(
            self._env["PIXELMILL_STATE_URL"], lambda: self._prepare(installation), self._report
        )
        self.supervisor.chores += [self._write_run_file_again, loss.check]
        self._start_programs(installation)
        is_live = self._are_models_live
        self.supervisor.wait_for("a model", lambda: is_live(installation), gpu_workers.READY_S)
        self._start_flower(installation)
        self.supervisor.mark_ready()
        logs, seconds = self.supervisor.logs, time.monotonic() - began
        welcome.show(
            console,
            self.settings,
            installation,
            url=url,
            logs=logs,
            seconds=seconds,
            has_first_password=self._has_first_password,
        )

    def stop(self) -> None:
        """End every process that was started; a second Ctrl-C shortens that."""
        shorten_stop_on_signals(self.supervisor)
        if self._fetching:
            self._fetching.terminate()
        self.supervisor.stop(self._work_in_progress)
        self._clear_scratch()
        if self._owns_folder:
            run_file.remove(self.var)

    def _report(self, line: str) -> None:
        _print(f"[dim]{time.strftime('%H:%M:%S')}[/] {escape(line)}")

    def _work_in_progress(self) -> str:
        """How much work a stop still waits for."""
        url = self._env.get("PIXELMILL_STATE_URL")
        if not url:
            return ""
        try:
            state = SyncRedis(redis.Redis.from_url(url, socket_timeout=1))
            runs = state.do(command(int, "ZCARD", keys.ACTIVE, kinds=NUMBER))
        except StorageDown:
            return ""
        return f"{runs} runs are in progress"

    def _take_over(self) -> None:
        """Refuse to start beside a living `up`; stop what a dead one has left running."""
        earlier = run_file.read(self.var)
        pid, created = earlier.supervisor
        if created and created_at(pid) == created:
            raise CannotStart(
                f"Pixelmill is running already in this folder, at {earlier.url} (pid {pid}); stop "
                f"it with `kill {pid}`, or start this one in another folder"
            )
        for name in stop_leftovers(earlier.started, gpu_workers.drain_s(self.settings)):
            self._report(f"stopped {name}, which an earlier run had left running")
        self._owns_folder = True
        self._write_run_file()

    def _clear_scratch(self) -> None:
        """Remove arrays that workers have left in memory, as those do that are killed."""
        if not self._env:
            return
        installation = read(None, secret=self._env["PIXELMILL_SECRET"]).installation
        with suppress(OSError):  # no such folder: the workers report that
            FolderScratch(self.settings.scratch_dir).clear(installation)

    def _prepare(self, installation: Installation) -> None:
        """Make bucket and account, and forget the workers of an earlier run."""
        env = self._env
        client = probes.impatient_redis(env["PIXELMILL_STATE_URL"], PREPARE_S)
        state = SyncRedis(client, "the state Redis")
        values = {name.removeprefix("PIXELMILL_").lower(): value for name, value in env.items()}
        store = s3_of(read(None, **values))
        state.do(catalogue.forget_workers())
        bootstrap.prepare(state, store, password=installation.admin_password)
        self._has_first_password = state.do(users.credentials("admin")).first_until_ms > 0
        state.do(api_keys.add(installation.api_key, "admin", name="pixelmill up"))

    def _start_programs(self, installation: Installation) -> None:
        env, start = self._env, self.supervisor.start
        state_url = env["PIXELMILL_STATE_URL"]
        start(programs.web(env), probes.web(self._page_url))
        cpu_worker = programs.cpu_worker(env, gpu_workers.drain_s(self.settings))
        start(cpu_worker, probes.worker(state_url, CPU_READY_S))
        self._fetching = self._fetch_weights()
        # The gpu workers import torch meanwhile; a lock makes them wait for what is being fetched.
        autoscale.start(self.supervisor, self.settings, env, self._report)
        if self._fetching and self._fetching.wait():
            raise CannotStart("not every model can be served; the reason is printed above")

    def _start_flower(self, own: Installation) -> None:
        """Last, as no photo waits for it."""
        if self.settings.task_events:
            flower = programs.flower(self._env, own.flower_port, own.admin_password)
            self.supervisor.start(flower, probes.http_server(f"{own.flower_url}/"))

    def _fetch_weights(self) -> "subprocess.Popen[bytes] | None":
        """Fetch them in a process of its own, as converting them needs torch; it prints here.

        None where all come with the code: those of the built-in models for the CPU's engines.
        """
        has_others = self.settings.profiles or self.settings.model_paths
        if not has_others and gpu_workers.engine(self.settings) != "torch":
            return None
        command = [sys.executable, "-m", "deploy.cli", "weights", "--here"]
        served = {
            "PIXELMILL_MODELS": self.settings.models,
            "PIXELMILL_PROFILES": self.settings.profiles,
        }
        return subprocess.Popen(command, env={**os.environ, **self._env, **served})

    def _are_models_live(self, installation: Installation) -> bool:
        from tasks.models import registry

        chosen = names_in(self.settings.models)
        expected = set(chosen or registry.names(self.settings.model_paths))
        headers = {"Authorization": f"Bearer {installation.api_key}"}
        try:
            answer = self._http.get(f"{self._page_url}/api/v1/models", headers=headers)
            live = {model["name"] for model in answer.json()["models"] if model["live"]}
        except (httpx.HTTPError, KeyError, ValueError):
            return False
        return expected <= live

    def _write_run_file(self) -> None:
        if not self._owns_folder:
            return
        pids, own = self.supervisor.pids, self._installation
        run = RunFile(
            url=(self.settings.public_url or self._page_url).rstrip("/"),
            own_url=self._page_url,
            flower_url=own.flower_url if own and self.settings.task_events else None,
            s3_url=self._env.get("PIXELMILL_S3_URL"),
            api_key=own.api_key if own else None,
            processes=pids,
            started={name: (pid, created_at(pid)) for name, pid in pids.items()},
            replaced=self.supervisor.replaced,
            supervisor=(os.getpid(), created_at(os.getpid())),
        )
        try:
            run_file.write(self.var, run)
        except OSError as error:  # no work depends on the file: it is written later
            if self._write_failed_s is None:
                file = self.var / run_file.NAME
                self._report(f"{file} could not be written: {error.strerror}; trying again")
            self._write_failed_s = time.monotonic()
        else:
            self._write_failed_s = None

    def _write_run_file_again(self) -> None:
        failed_s = self._write_failed_s
        if failed_s is not None and time.monotonic() - failed_s > WRITE_AGAIN_S:
            self._write_run_file()


def _print(line: str) -> None:
    with suppress(OSError):  # output that goes to a file on a full disk stops nothing
        console.print(line)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
