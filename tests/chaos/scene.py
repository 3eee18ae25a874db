"""A whole installation that starts again what dies, and what can be done to it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent))
from stack import Stack, free_port

from storage import api_keys, catalogue, keys
from storage.redis import calls

HERE = Path(__file__).parent
RESTART_S = 0.5
"""As soon as deploy/supervision/supervisor.py starts what has died for the first time."""
WEBS = ("web", "web-2")
WORKERS = ("cpu-worker", "gpu-worker")
OWNERS = ("ada", "grace")
DISK_MIB = 1024
SCRATCH_MIB = 64


class Scene(Stack):
    """Two web processes, one cpu and one gpu worker, two Redis, and S3 behind a proxy."""

    def __init__(self, disk: "SmallDisk", scratch: "SmallDisk") -> None:
        """`disk` holds the data of all servers and the logs, `scratch` the arrays."""
        env = {
            "PIXELMILL_MODELS": "stamp",
            "PIXELMILL_MODEL_PATHS": str(HERE / "models"),
            "PIXELMILL_CPU_PROCESSES": "2",
            "PIXELMILL_DEVICE": "cpu",
            "PIXELMILL_THREADS": "1",
            "PIXELMILL_TASK_EVENTS": "false",
            "PIXELMILL_SCRATCH_DIR": str(scratch.folder),
            "PIXELMILL_AUTH": "accounts",
            "PIXELMILL_MAX_IN_FLIGHT": "1000",  # two users stand for many
        }
        super().__init__(disk.folder, env)
        self.scratch, self.why_no_small_disk = scratch.folder, scratch.why_not
        self.harm: list[str] = []
        """What a fault saw that must not be."""
        self.ports |= {"proxy": free_port(), "web-2": free_port()}
        self.env["PIXELMILL_S3_URL"] = f"http://127.0.0.1:{self.ports['proxy']}"
        self.urls = [f"http://127.0.0.1:{self.ports[name]}" for name in WEBS]
        self.keys = dict(zip(("key-of-ada", "key-of-grace"), OWNERS, strict=True))
        self._commands: dict[str, list[str]] = {}
        self._down: set[str] = set()
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def start_all(self) -> "Scene":
        self.start_servers()
        self.add_keys()
        self.start_workers()
        self.start_web()
        self.start("web-2", [sys.executable, "-m", "web"])
        self.wait_until_whole()
        self._keeper.start()
        return self

    def add_keys(self) -> None:
        """Let the owners in."""
        for key, owner in {**self.keys, self.api_key: "tester"}.items():
            calls.SyncRedis(self.state).do(api_keys.add(key, owner))

    def start_s3(self) -> None:
        super().start_s3()
        ports = [str(self.ports[name]) for name in ("proxy", "s3")]
        if "proxy" not in self.processes:
            self.start("proxy", [sys.executable, str(HERE / "proxy.py"), *ports])
        self.wait_for("proxy", lambda: self.puts() is not None, 10)

    def start(self, name: str, command: list[str], env: Mapping[str, str] | None = None) -> None:
        port = {"PIXELMILL_PORT": str(self.ports[name])} if name in WEBS else {}
        super().start(name, command, {**port, **(env or {})})
        self._commands[name] = command

    def wait_until_whole(self) -> None:
        """Every web process answers and the model is served."""
        for name, url in zip(WEBS, self.urls, strict=True):
            self.wait_for(name, lambda url=url: httpx.get(f"{url}/readyz").status_code == 200)
        self.wait_until_live()

    def late(self) -> list[str]:
        """Background loops of web processes and workers that do not turn."""
        pages = [httpx.get(f"{url}/healthz").json()["late"] for url in self.urls]
        workers = calls.SyncRedis(self.state).do(catalogue.read()).workers
        return [line for said in (*pages, *(worker["late"] for worker in workers)) for line in said]

    def strike(self, *names: str) -> None:
        """kill -9 of processes and all their children; they are started again by themselves."""
        for name in names:
            self.kill(name)

    def take_down(self, name: str, seconds: float) -> None:
        """kill -9, and only after `seconds` started again."""
        self._down.add(name)
        self.kill(name)
        time.sleep(seconds)
        self._down.discard(name)

    def restart(self, name: str) -> None:
        """SIGTERM, as a rolling update does; back when another one runs."""
        old = self.processes[name]
        os.kill(old.pid, signal.SIGTERM)
        old.wait(60)
        self.wait_for_other(name, old.pid)
        self.wait_until_whole()

    def wait_for_other(self, name: str, pid: int) -> None:
        """Return when a process of this name with another pid lives."""
        end = time.monotonic() + 10
        while self.processes[name].pid == pid:
            if time.monotonic() > end:
                raise TimeoutError(f"{name} was not started again")
            time.sleep(0.05)

    def children(self, name: str) -> list[int]:
        """Pids of the direct children of a process."""
        task = f"/proc/{self.processes[name].pid}/task/{self.processes[name].pid}/children"
        return [int(pid) for pid in Path(task).read_text().split()]

    def set_faults(self, **faults: float) -> None:
        """What the proxy before S3 does from now on."""
        httpx.post(f"{self.env['PIXELMILL_S3_URL']}/-/faults", json=faults).raise_for_status()

    def puts(self) -> dict[str, int]:
        """How often each path was written to S3."""
        puts: dict[str, int] = httpx.get(f"{self.env['PIXELMILL_S3_URL']}/-/puts").json()
        return puts

    def in_flight(self) -> int:
        """Runs that have not ended."""
        return int(self.state.zcard(keys.ACTIVE))

    def finished(self) -> int:
        """Runs that were ended well so far, as finish counts them."""
        names = self.state.scan_iter(match=keys.METRICS_PREFIX + "stamp:[0-9]*", count=1000)
        return sum(int(self.state.hget(name, "done") or 0) for name in names)

    def results(self) -> dict[str, set[str]]:
        """S3 prefix of each edition of a result -> names of the objects that S3 lists in it."""
        root = self.folder / "s3" / "pixelmill"
        return {
            f"{folder.relative_to(root)}/": {file.name for file in folder.glob("[!.]*")}
            for folder in root.glob("out/*/*/*")
        }

    def _keep(self) -> None:
        """Start again whatever has died and is not meant to be down."""
        while not self._stopping.wait(0.1):
            for name, process in list(self.processes.items()):
                if process.poll() is None or name in self._down:
                    continue
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                if not self._stopping.wait(RESTART_S) and process.returncode is not None:
                    self.start(name, self._commands[name])

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        if self._keeper.is_alive():
            self._keeper.join()
        super().__exit__(*error)

    def keep_logs(self, folder: Path) -> None:
        """Copy what all processes said to a folder that outlives this one's disk."""
        for log in self.folder.glob("*.log"):
            shutil.copy(log, folder)


class SmallDisk:
    """A small file system in memory, so that it can be full; a plain folder where none may be."""

    def __init__(self, mib: int) -> None:
        self._mib = mib

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="pixelmill-chaos-"))
        options = ["mount", "-t", "tmpfs", "-o", f"size={self._mib}m", "tmpfs", str(self.folder)]
        try:
            mounted = subprocess.run(options, capture_output=True, text=True)
            self.why_not = mounted.stderr.strip() if mounted.returncode else ""
        except OSError as error:
            self.why_not = str(error)
        return self

    def __exit__(self, *_: object) -> None:
        if not self.why_not:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)
        shutil.rmtree(self.folder)
