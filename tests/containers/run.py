"""make compose-test: the shipped compose.yaml on a real Docker Engine, and everything in it killed.

It builds both images on bases made of Debian's packages, starts the whole installation in a
network namespace, and sends photos through nginx: each container is killed with jobs in flight, gpu
workers are scaled 1 -> 3 -> 1, and all of it is taken down and started again. Everything stays in
var/containers. It needs root, docker.io and mmdebstrap, and touches nothing of the host's network.
`--torch-index` is the address of another index for torch.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from engine import NAMESPACE, REPOSITORY, SERVERS, Engine, make_namespace, remove_namespace, run

FOLDER = REPOSITORY / "var" / "containers"
PROJECT = FOLDER / "installation" / "compose"
COMPOSE = Path(sys.executable).parent / "docker-compose"
IMAGES = ("NGINX", "VALKEY", "RCLONE", "PROMETHEUS", "ALERTMANAGER")
JOBS = 12
KILLED = (
    "nginx", "web-1", "web-2", "cpu-worker", "gpu-worker", "state", "cache", "s3", "flower",
    "prometheus", "alertmanager",
)  # fmt: skip


def compose(*words: str) -> str:
    """The output of `docker compose` in the installation's folder."""
    return run(COMPOSE, *words, cwd=PROJECT)


def prepare() -> None:
    """A copy of the shipped files with the answers that README.md asks for."""
    shutil.rmtree(PROJECT.parent, ignore_errors=True)
    for name in ("compose", "monitoring"):
        shutil.copytree(REPOSITORY / "deploy" / name, PROJECT.parent / name)
    images = "".join(f"{name}_IMAGE={SERVERS}\n" for name in IMAGES)
    (PROJECT / ".env").write_text(f"PIXELMILL_HOST=mill.test\n{images}")
    settings = "PIXELMILL_MODELS=classify\nPIXELMILL_CPU_PROCESSES=1\nPIXELMILL_THREADS=1\n"
    (PROJECT / "settings.env").write_text(settings)
    compose("run", "--rm", "secrets")


def crash(service: str) -> None:
    """kill -9 of a container's first process, as a fault would: Docker starts it again."""
    container = compose("ps", "--quiet", service).split()[0]
    pid = int(run("docker", "inspect", "--format", "{{.State.Pid}}", container))
    if pid:
        os.kill(pid, signal.SIGKILL)


def wait_until_up(service: str) -> None:
    """Until a service runs again, and is healthy if it can say so."""
    end = time.monotonic() + 180
    while time.monotonic() < end:
        status = compose("ps", "--format", "{{.Status}}", service)
        if status.startswith("Up") and "starting" not in status and "unhealthy" not in status:
            return
        time.sleep(0.5)
    raise SystemExit(f"{service} did not come up again: {status}")


def check_hardening() -> None:
    """Every container of the files runs without rights and on a read-only root."""
    form = "{{.Name}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.Config.User}}"
    lines = run("docker", "inspect", "--format", form, *compose("ps", "--quiet").split())
    assert all(" true [ALL]" in line for line in lines.splitlines()), lines
    print(f"{len(lines.splitlines())} containers: root read-only, no capability")


def story() -> int:
    """Everything that is done to the installation, inside the engine's network; the exit code."""
    from clients import Clients

    harm = 0

    def load(what: str, meanwhile: Callable[[], object], jobs: int = JOBS) -> None:
        nonlocal harm
        began, before = time.monotonic(), clients.statuses.copy()
        ends = clients.ends(jobs, threading.Thread(target=meanwhile))
        statuses = clients.statuses - before
        wrong = {s: n for s, n in statuses.items() if s >= 500 and s != 503}
        harm += jobs - ends["done"] + sum(wrong.values())
        took_s = time.monotonic() - began
        answers = dict(sorted(statuses.items()))
        print(f"{what:28} {jobs} jobs: {dict(ends)}; answers {answers}; {took_s:.0f} s", flush=True)

    compose("up", "--detach")
    key = run("docker", "exec", *_admin(), "pixelmill", "keys", "add", "admin").split()[0]
    clients = Clients(key)
    first = clients.submit()
    assert clients.end_of(first) == "done"
    before = clients.result_hash(first)
    assert clients.ask("GET", "/ui/").status_code == 200
    print("one photo through nginx: done, its result read by signed addresses; the page answers")
    check_hardening()

    for service in KILLED:
        load(f"kill -9 of {service}", partial(crash, service))
        wait_until_up(service)
    load("gpu workers 1 -> 3", lambda: _scale(3), 24)
    load("gpu workers 3 -> 1", lambda: _scale(1), 24)

    compose("down")
    compose("up", "--detach")
    after = clients.result_hash(first)
    harm += after != before
    same = "the same" if after == before else "ANOTHER"
    print(f"down, up: the key is known, the result of the first photo is {same}")
    compose("down", "--volumes")
    print(f"harm: {harm}")
    return 1 if harm else 0


def _admin() -> list[str]:
    """Options and container of a command with the rights of an admin."""
    [web] = compose("ps", "--quiet", "web-1").split()
    url = (PROJECT / "secrets" / "state_url_admin").read_text()
    return ["--env", f"PIXELMILL_STATE_URL={url}", web]


def _scale(count: int) -> None:
    compose("up", "--detach", "--no-recreate", "--scale", f"gpu-worker={count}", "gpu-worker")


def main() -> int:
    """Build what is missing, then tell the story in the engine's network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch-index", help="index of the build of torch for the worker's image")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    engine = Engine(FOLDER / "engine")
    if chosen.inside:
        prepare()
        return story()
    engine.start(isolated=False)
    try:
        engine.build_bases()
        index = [f"TORCH_INDEX={chosen.torch_index}"] if chosen.torch_index else []
        for target, arguments in (("web", []), ("worker", index)):
            engine.build(target, *arguments)
            size = run("docker", "images", "--format", "{{.Size}}", f"pixelmill-{target}").strip()
            print(f"pixelmill-{target}: {size}", flush=True)
    finally:
        engine.stop()
    make_namespace()
    engine.start(isolated=True)
    try:
        command = ["nsenter", f"--net=/run/netns/{NAMESPACE}", sys.executable, __file__, "--inside"]
        return subprocess.run(command).returncode
    finally:
        subprocess.run([COMPOSE, "down", "--volumes"], cwd=PROJECT, capture_output=True)
        engine.stop()
        remove_namespace()


if __name__ == "__main__":
    raise SystemExit(main())
