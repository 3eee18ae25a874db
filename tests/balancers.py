"""Real load balancers with the configuration that `pixelmill proxy` prints, on free ports."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from stack import free_port

from deploy.proxy import Kind, Proxy, render
from tasks.settings import Settings, read

START_S = 10


def require(kind: str) -> None:
    """Skip the test where the program is missing."""
    if not shutil.which(kind):
        pytest.skip(f"{kind} is not installed")


def certify(folder: Path, *names: str) -> None:
    """Write cert.pem, key.pem, and both.pem with both, for these names (`DNS:...`, `IP:...`)."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-subj", "/CN=mill", "-addext", f"subjectAltName={','.join(names)}"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    command = ["openssl", "req", "-x509", *key, *subject, *files]
    subprocess.run(command, check=True, capture_output=True)
    both = (folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes()
    (folder / "both.pem").write_bytes(both)


def settings_of(public_url: str, s3_url: str, **more: str) -> Settings:
    """The settings from which a configuration is made."""
    return read(None, public_url=public_url, s3_url=s3_url, **more)


def write(kind: Kind, folder: Path, settings: Settings, proxy: Proxy) -> list[str]:
    """Write the configuration; the command that runs the program with it."""
    file = folder / f"{kind}.conf"
    file.write_text(render(kind, proxy, settings))
    if kind == "haproxy":
        return ["haproxy", "-db", "-f", str(file)]
    return ["nginx", "-e", "stderr", "-c", str(file), "-g", "daemon off;"]


@contextmanager
def running(
    kind: Kind, folder: Path, settings: Settings, web: Sequence[str], port: int
) -> Iterator[None]:
    """The load balancer in front of these web processes, on a port of 127.0.0.1."""
    (folder / "run").mkdir(exist_ok=True)
    proxy = Proxy(
        web,
        certificate=str(folder / ("cert.pem" if kind == "nginx" else "both.pem")),
        key=str(folder / "key.pem"),
        listen=f"127.0.0.1:{port}",
        http_listen=f"127.0.0.1:{free_port()}",
        run_dir=str(folder / "run"),
    )
    with open(folder / f"{kind}.log", "ab") as log:
        process = subprocess.Popen(write(kind, folder, settings, proxy), stdout=log, stderr=log)
    try:
        _wait(port, process, folder / f"{kind}.log")
        yield
    finally:
        process.terminate()
        process.wait(10)


def _wait(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"the load balancer did not start:\n{log.read_text()}")
