"""The shipped files of deploy/compose in a folder of their own, and `docker compose` in it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from engine import REPOSITORY, SERVERS, run

FOLDER = REPOSITORY / "var" / "containers"
CHECKOUT = FOLDER / "checkout"
"""What a checkout has of what README.md's commands need."""
PROJECT = CHECKOUT / "deploy" / "compose"
HOST = "mill.example.com"
"""As README.md has it."""
IMAGES = ("NGINX", "VALKEY", "RCLONE", "PROMETHEUS", "ALERTMANAGER")
UP_S = 180


def prepare() -> None:
    """The folder, and programs that find the engine, the plugin `compose` and the host."""
    shutil.rmtree(CHECKOUT, ignore_errors=True)
    for name in ("compose", "monitoring"):
        shutil.copytree(REPOSITORY / "deploy" / name, CHECKOUT / "deploy" / name)
    shutil.copytree(REPOSITORY / "examples", CHECKOUT / "examples")
    settings = "PIXELMILL_MODELS=classify,matting\nPIXELMILL_CPU_PROCESSES=1\nPIXELMILL_THREADS=1\n"
    (PROJECT / "settings.env").write_text(settings)
    plugins = CHECKOUT / ".docker" / "cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-compose").symlink_to(Path(sys.executable).parent / "docker-compose")
    (CHECKOUT / ".curlrc").write_text(f'resolve = "{HOST}:443:127.0.0.1"\n')
    os.environ |= {
        **{f"{name}_IMAGE": SERVERS for name in IMAGES},
        "DOCKER_CONFIG": str(plugins.parent),
        "CURL_HOME": str(CHECKOUT),
    }


def first_commands() -> list[str]:
    """Those of README.md, `From an empty host to the first cut-out`."""
    text = (PROJECT / "README.md").read_text()
    section = text.partition("## From an empty host")[2]
    [block] = re.findall(r"```sh\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    return str(block).splitlines()


def shell(commands: str, cwd: Path) -> str:
    """The output of commands as somebody types them."""
    return run("bash", "-euo", "pipefail", "-c", commands, cwd=cwd)


def compose(*words: str) -> str:
    """The output of `docker compose` in the installation's folder."""
    return run("docker", "compose", *words, cwd=PROJECT)


def as_admin(*words: str) -> str:
    """The output of a command with the rights of an admin, in a container."""
    url = (PROJECT / "secrets" / "state_url_admin").read_text()
    return compose("exec", "-T", "-e", f"PIXELMILL_STATE_URL={url}", "cpu-worker", *words)


def process(service: str) -> int:
    """The first process of a service's first container; 0 while there is none."""
    container = compose("ps", "--quiet", service).split()[0]
    return int(run("docker", "inspect", "--format", "{{.State.Pid}}", container))


def crash(service: str) -> None:
    """kill -9 of a container's first process, as a fault would; returns when it is up again.

    Docker starts it again: until it runs anew, and is healthy if it can say so.
    """
    before, status = process(service), ""
    os.kill(before, signal.SIGKILL)
    end = time.monotonic() + UP_S
    while time.monotonic() < end:
        is_new = process(service) not in (0, before)  # asked first: the status may be the old one
        status = compose("ps", "--format", "{{.Status}}", service)
        is_up = status.startswith("Up") and "starting" not in status and "unhealthy" not in status
        if is_new and is_up:
            return
        time.sleep(0.5)
    raise SystemExit(f"{service} did not come up again: {status}")


def scale(count: int) -> None:
    """As many gpu workers, as README.md says it; returns when all are up."""
    how = ("--detach", "--wait", "--no-recreate", "--scale", f"gpu-worker={count}")
    compose("up", *how, "gpu-worker")


def rights(service: str) -> list[str]:
    """What a service's first process may do that it should not; nothing, if all is well."""
    status = Path(f"/proc/{process(service)}/status").read_text()
    found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    wrong = [name for name in ("CapEff", "CapBnd", "CapPrm") if int(found[name], 16)]
    wrong += [] if found["NoNewPrivs"] == "1" else ["new privileges"]
    container = compose("ps", "--quiet", service).split()[0]
    probe = ["docker", "exec", container, "sh", "-c", "echo > /probe"]
    done = subprocess.run(probe, capture_output=True, text=True)
    return wrong if "Read-only file system" in done.stderr else [*wrong, "writes to its root"]


def remove() -> None:
    """Remove all containers and their data; what they said stays in var/containers/compose.log."""
    program = Path(sys.executable).parent / "docker-compose"
    if PROJECT.exists():
        logs = run(program, "logs", "--no-color", cwd=PROJECT, quiet=True)
        (FOLDER / "compose.log").write_text(logs)
        run(program, "down", "--volumes", cwd=PROJECT, quiet=True)
