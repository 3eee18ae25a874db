"""`pixelmill up`: a whole installation on one machine, out of pip packages, supervised."""

import errno
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import redis
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from deploy import bootstrap, fleet, probes
from deploy.emptied import EmptiedState
from deploy.logs import Limits
from deploy.servers import (
    CACHE_CONFIG,
    Program,
    redis_server,
    remove_unfinished,
    s3_server,
    state_config,
    write_secretly,
)
from deploy.supervisor import (
    CannotStart,
    Supervisor,
    created_at,
    hurry_on_signals,
    leftovers,
)
from storage import catalogue, keys
from storage.errors import StorageDown
from storage.redis.calls import NUMBER, SyncRedis, command
from storage.s3.objects import S3Objects
from storage.scratch import FolderScratch
from tasks.errors import Unavailable
from tasks.settings import MIB, Settings, names_in, read

READY_S = 600.0
"""The first start may have weights to fetch."""
CPU_READY_S = 180.0
WRITE_AGAIN_S = 5.0
"""How often what a full disk did not take is written again."""
PLAIN_HTTP = (
    "[yellow]Plain http beyond this machine:[/] passwords, keys and photos cross the network "
    "readable; cookies are not marked Secure; browsers switch off hashing (so repeats are uploaded "
    "again) and the clipboard. Put TLS in front (nginx, a load balancer) and give its address by "
    "--public-url https://..."
)

console = Console(stderr=False, highlight=False)


@dataclass(frozen=True)
class Facts:
    """What one installation keeps for its life, in var/installation.json."""

    secret: str
    state_password: str
    cache_password: str
    s3_key: str
    s3_secret: str
    admin_password: str
    api_key: str
    state_port: int
    cache_port: int
    s3_port: int
    flower_port: int


def up(host: str | None = None, port: int | None = None, public_url: str | None = None) -> int:
    """Start everything, say where it is, keep it running until Ctrl-C; the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    given = {"host": host, "port": port, "public_url": public_url}
    chosen = {name: value for name, value in given.items() if value is not None}
    # Only the environment and .env count as the user's wish; var/env is what we wrote ourselves.
    settings = read(".env", **chosen)
    local = Local(settings)
    try:
        local.start()
        local.supervisor.watch()
    except (CannotStart, Unavailable) as error:
        console.print("[red]pixelmill up:[/]", escape(str(error)), soft_wrap=True)
        return 1
    except StorageDown as error:
        console.print("[red]pixelmill up:[/]", escape(str(error)), soft_wrap=True)
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _print("pixelmill up: the disk is full; free some space and start again")
        return 1
    except KeyboardInterrupt:
        _print("stopping: new work is refused, what is in hand ends")
    finally:
        local.stop()
    return 0


def _print(line: str) -> None:
    """On a full disk a redirected output takes nothing: that stops nobody."""
    with suppress(OSError):
        console.print(line)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Local:
    """One installation on this machine."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.var = settings.var_dir
        self.var.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.run_file = self.var / "run.json"
        limits = Limits(int(settings.log_mib * MIB), settings.log_days)
        self.supervisor = Supervisor(self.var / "logs", self._say, self._write_run, limits)
        self.is_own = False
        self._unwritten_s: float | None = None
        # Loopback is never behind a proxy, whatever the environment says.
        self.http = httpx.Client(trust_env=False, timeout=2)
        self.fetching: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Everything, in order; returns when every model has a live worker."""
        began = time.monotonic()
        self._take_over()
        self.facts = _facts(self.var / "installation.json")
        self._check_page_port()
        self.env = self._environment()
        self._write_env()
        self._clear_scratch()
        self._start_servers()
        self._prepare()
        self.supervisor.chores += [self._write_run_again, self._emptied().look]
        self._start_own()
        self.supervisor.wait_for("a model", self._is_live, READY_S)
        self.supervisor.mark_ready()
        self._welcome(time.monotonic() - began)

    def stop(self) -> None:
        """End every process that was started; a second Ctrl-C only shortens that."""
        hurry_on_signals(self.supervisor)
        if self.fetching:
            self.fetching.terminate()
        self.supervisor.stop(self._in_hand)
        self._clear_scratch()
        if self.is_own:
            self.run_file.unlink(missing_ok=True)

    def _say(self, line: str) -> None:
        _print(f"[dim]{time.strftime('%H:%M:%S')}[/] {escape(line)}")

    def _in_hand(self) -> str:
        """What is under way, for who waits for the end."""
        try:
            link = SyncRedis(
                redis.Redis.from_url(self.env["PIXELMILL_STATE_URL"], socket_timeout=1)
            )
            return f"{link.do(command(int, 'ZCARD', keys.ACTIVE, kinds=NUMBER))} runs are under way"
        except (StorageDown, AttributeError):
            return ""

    def _emptied(self) -> EmptiedState:
        return EmptiedState(self.env["PIXELMILL_STATE_URL"], self._prepare, self._say)

    def _take_over(self) -> None:
        """Refuse beside a living `up`; clean up after a dead one."""
        old = _earlier_run(self.run_file)
        pid, created = old["supervisor"]
        if created and created_at(pid) == created:
            raise CannotStart(
                f"it is running already here, at {old['url']} (pid {pid}); stop it by "
                f"`kill {pid}` or start this one in another folder"
            )
        for name in leftovers(old["started"], fleet.drain_s(self.settings)):
            self._say(f"stopped {name}, left over from an earlier run")
        self.is_own = True
        self._write_run()

    def _clear_scratch(self) -> None:
        """Remove photos that workers left in memory, those that were killed as well."""
        if not hasattr(self, "env"):
            return
        installation = read(None, secret=self.env["PIXELMILL_SECRET"]).installation
        with suppress(OSError):  # no such folder: the workers will say so
            FolderScratch(self.settings.scratch_dir).clear(installation)

    def _write_env(self) -> None:
        file, text = self.var / "env", _env_file(self.env)
        if not file.exists() or file.read_text() != text:
            write_secretly(file, text)

    def _check_page_port(self) -> None:
        host, port = self.settings.host, self.settings.port
        try:
            socket.create_server((host, port)).close()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                reason = "is in use; choose another by --port or PIXELMILL_PORT"
            else:
                reason = f"cannot be listened on ({error.strerror}); see --host and --port"
            raise CannotStart(f"port {port} of {host} {reason}") from error

    def _is_given(self, name: str) -> bool:
        return name in self.settings.model_fields_set

    def _environment(self) -> dict[str, str]:
        facts, settings = self.facts, self.settings
        embedded = {
            "state_url": f"redis://:{facts.state_password}@127.0.0.1:{facts.state_port}/0",
            "cache_url": f"redis://:{facts.cache_password}@127.0.0.1:{facts.cache_port}/0",
            "s3_url": f"http://127.0.0.1:{facts.s3_port}",
            "s3_key": facts.s3_key,
            "s3_secret": facts.s3_secret,
            "secret": facts.secret,
        }
        if self._is_given("s3_url"):  # somebody else's server knows nothing of our key
            del embedded["s3_key"], embedded["s3_secret"]
        chosen = {name: getattr(settings, name) for name in settings.model_fields_set}
        # Paths are made absolute: `pixelmill worker` may be typed in another folder later.
        values = {**embedded, **chosen, "var_dir": self.var.resolve()}
        return {f"PIXELMILL_{name.upper()}": _text(value) for name, value in values.items()}

    def _start_servers(self) -> None:
        facts, server = self.facts, self.settings.redis_server
        if not self._is_given("state_url"):
            config = state_config(self.settings.state_memory_mib)
            self._start_redis("state", facts.state_port, facts.state_password, config, server)
        if not self._is_given("cache_url"):
            self._start_redis("cache", facts.cache_port, facts.cache_password, CACHE_CONFIG, server)
        if not self._is_given("s3_url"):
            origin = self.settings.public_url or self._url()
            # Beside everything else: a folder of a million results takes minutes to walk.
            threading.Thread(target=self._tidy_s3, args=[time.time()], daemon=True).start()
            self.supervisor.start(
                s3_server(self.var / "s3", facts.s3_port, facts.s3_key, facts.s3_secret, origin),
                probes.of_http(f"http://127.0.0.1:{facts.s3_port}/"),
            )
            self.supervisor.wait_for("s3", lambda: _answers(facts.s3_port), 20)

    def _tidy_s3(self, before_s: float) -> None:
        if removed := remove_unfinished(self.var / "s3", before_s):
            self._say(f"unfinished uploads of an earlier run removed: {removed}")

    def _start_redis(self, name: str, port: int, password: str, config: str, server: str) -> None:
        program = redis_server(
            f"{name}-redis",
            self.var / f"{name}-redis",
            port,
            password,
            server=server,
            config=config,
        )
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        self.supervisor.start(program, probes.of_redis(url))
        client = redis.Redis(port=port, password=password, socket_timeout=1)
        self.supervisor.wait_for(program.name, lambda: _pings(client), 30)

    def _prepare(self) -> None:
        env = self.env
        state = SyncRedis(redis.Redis.from_url(env["PIXELMILL_STATE_URL"]), "the state Redis")
        now = read(None, **{n.removeprefix("PIXELMILL_").lower(): v for n, v in env.items()})
        store = S3Objects(
            now.s3_url, key=now.s3_key, secret=now.s3_secret, bucket=now.s3_bucket,
            region=now.s3_region,
        )  # fmt: skip
        state.do(catalogue.forget_workers())  # those of an earlier run
        bootstrap.prepare(
            state, store, password=self.facts.admin_password, api_key=self.facts.api_key
        )

    def _start_own(self) -> None:
        python, state_url = sys.executable, self.env["PIXELMILL_STATE_URL"]
        web = Program("web-1", [python, "-m", "web"], self.env, notice=signal.SIGUSR1)
        self.supervisor.start(web, probes.of_page(self._url()))
        command, drain_s = [python, "-m", "workers", "cpu"], fleet.drain_s(self.settings)
        cpu = Program("cpu-worker-1", command, self.env, drain_s=drain_s)
        self.supervisor.start(cpu, probes.of_worker(state_url, CPU_READY_S))
        if self.settings.task_events:
            flower = f"http://127.0.0.1:{self.facts.flower_port}/"
            self.supervisor.start(self._flower(), probes.of_http(flower))
        self.fetching = self._fetch_weights()
        # Meanwhile the gpu workers import torch; a lock makes them wait for what is being fetched.
        for program in fleet.programs(self.settings, env=self.env):
            self.supervisor.start(program, probes.of_worker(state_url, READY_S))
        if self.fetching.wait():
            raise CannotStart("the models' weights could not be had; the reason stands above")

    def _flower(self) -> Program:
        command = [sys.executable, "-m", "celery", "-A", "tasks.app", "flower"]
        command += ["--address=127.0.0.1", f"--port={self.facts.flower_port}", "--read_only=True"]
        command += ["--max_tasks=5000", "--purge_offline_workers=60", "--logging=warning"]
        login = {"FLOWER_BASIC_AUTH": f"admin:{self.facts.admin_password}"}
        return Program("flower", command, {**self.env, **login})

    def _fetch_weights(self) -> "subprocess.Popen[bytes]":
        """In a process of its own, on this terminal: converting needs torch, we do not."""
        command = [sys.executable, "-m", "deploy.cli", "weights"]
        asked = {
            "PIXELMILL_MODELS": self.settings.models,
            "PIXELMILL_PROFILES": self.settings.profiles,
        }
        return subprocess.Popen(command, env={**os.environ, **self.env, **asked})

    def _is_live(self) -> bool:
        """Whether every model is served."""
        from tasks.models import registry

        wanted = names_in(self.settings.models)
        expected = set(wanted or registry.names(self.settings.model_paths))
        headers = {"Authorization": f"Bearer {self.facts.api_key}"}
        try:
            answer = self.http.get(f"{self._url()}/api/v1/models", headers=headers)
            live = {model["name"] for model in answer.json()["models"] if model["live"]}
        except (httpx.HTTPError, KeyError, ValueError):
            return False
        return expected <= live

    def _url(self) -> str:
        """The page as this machine reaches it."""
        host = self.settings.host
        return f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{self.settings.port}"

    def _write_run(self) -> None:
        if not self.is_own:
            return
        pids = self.supervisor.pids
        has_facts = hasattr(self, "facts")
        has_flower = self.settings.task_events and has_facts
        run = {
            "url": (self.settings.public_url or self._url()).rstrip("/"),
            "flower_url": f"http://127.0.0.1:{self.facts.flower_port}" if has_flower else None,
            "s3_url": self.env["PIXELMILL_S3_URL"] if hasattr(self, "env") else None,
            "api_key": self.facts.api_key if has_facts else None,
            "processes": pids,
            "started": {name: (pid, created_at(pid)) for name, pid in pids.items()},
            "replaced": self.supervisor.replaced,
            "supervisor": (os.getpid(), created_at(os.getpid())),
        }
        try:
            write_secretly(self.run_file, json.dumps(run, indent=1))
        except OSError as error:  # nobody's work depends on it: it is written again later
            if self._unwritten_s is None:
                self._say(f"{self.run_file} could not be written: {error.strerror}; trying again")
            self._unwritten_s = time.monotonic()
        else:
            self._unwritten_s = None

    def _write_run_again(self) -> None:
        since_s = self._unwritten_s
        if since_s is not None and time.monotonic() - since_s > WRITE_AGAIN_S:
            self._write_run()

    def _welcome(self, seconds: float) -> None:
        facts, url = self.facts, self.settings.public_url or self._url()
        lines = [f"[bold]Pixelmill is ready[/] ({seconds:.1f} s)", ""]
        password = facts.admin_password
        if not console.is_terminal:  # whoever may read where this goes may not read that
            password = f"see admin_password in {self.var / 'installation.json'}"
        lines += [f"page      {url}", f"sign in   admin / {password}"]
        if self.settings.task_events:
            lines += [
                f"Flower    http://127.0.0.1:{facts.flower_port}  (the same name and password)"
            ]
        lines += [f"API       {url}/docs", f"logs      {self.supervisor.logs}", "", "Ctrl-C stops."]
        with suppress(OSError):
            console.print(Panel("\n".join(lines), expand=False))
        is_open = self.settings.host not in ("127.0.0.1", "localhost", "::1")
        if is_open and not self.settings.public_url.startswith("https://"):
            console.print(PLAIN_HTTP)


def _earlier_run(file: Path) -> dict[str, Any]:
    """What an earlier `up` wrote of itself; nothing if it ended well, or the file is damaged."""
    nothing: dict[str, Any] = {"url": "", "supervisor": (0, 0.0), "started": {}}
    try:
        return nothing | dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return nothing


def _facts(file: Path) -> Facts:
    """The installation's facts, made once; a port that is taken meanwhile is changed."""
    if file.exists():
        facts = Facts(**json.loads(file.read_text()))
    else:
        names = ("state_port", "cache_port", "s3_port", "flower_port")
        ports: dict[str, Any] = dict(zip(names, _free_ports(len(names)), strict=True))
        facts = Facts(
            secret=secrets.token_hex(32),
            state_password=secrets.token_hex(16),
            cache_password=secrets.token_hex(16),
            s3_key=secrets.token_hex(8),
            s3_secret=secrets.token_hex(20),
            admin_password=secrets.token_urlsafe(12),
            api_key=f"pm_{secrets.token_urlsafe(24)}",
            **ports,
        )
    for name in ("state_port", "cache_port", "s3_port", "flower_port"):
        port = getattr(facts, name)
        if not _is_free("127.0.0.1", port):
            [other] = _free_ports(1)
            console.print(f"port {port} ({name}) is taken; using {other}")
            changed: dict[str, Any] = {name: other}
            facts = replace(facts, **changed)
    text = json.dumps(asdict(facts), indent=1)
    if not file.exists() or file.read_text() != text:  # a full disk is no reason not to start
        write_secretly(file, text)
    return facts


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _is_free(host: str, port: int) -> bool:
    try:
        socket.create_server((host, port)).close()
    except OSError:
        return False
    return True


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _pings(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _env_file(env: dict[str, str]) -> str:
    return "".join(f"{name}={json.dumps(value)}\n" for name, value in env.items())
