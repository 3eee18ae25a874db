"""A real Prometheus and Alertmanager on deploy/monitoring's own files, and a webhook."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from stack import REPOSITORY, Stack, free_port

FOLDER = REPOSITORY / "deploy" / "monitoring"
PROGRAMS = ("prometheus", "prometheus-alertmanager")


class Webhook:
    """Where Alertmanager sends what it has to tell."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        """(receiver, alert that is firing) of each message."""
        heard = self.heard

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in told["alerts"]:
                    if alert["status"] == "firing":
                        heard.append((self.path.strip("/"), alert["labels"]["alertname"]))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_port}"


def start(stack: Stack) -> Webhook:
    """Watch an installation; answers where alerts arrive. RuntimeError without the programs."""
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        raise RuntimeError(f"install {' '.join(missing)} (Debian's packages of these names)")
    webhook, manager = Webhook(), f"127.0.0.1:{free_port()}"
    told = {"127.0.0.1:9095": webhook.address}
    watched = {"127.0.0.1:7860": stack.url.removeprefix("http://"), "127.0.0.1:9093": manager}
    _copy("alertmanager.yml", stack.folder, told)
    _copy("prometheus.yml", stack.folder, watched)
    _copy("rules.yml", stack.folder, {})
    _run(stack, "prometheus-alertmanager", "alertmanager.yml", manager, "--cluster.listen-address=")
    _run(stack, "prometheus", "prometheus.yml", f"127.0.0.1:{free_port()}")
    return webhook


def _copy(name: str, folder: Path, replaced: dict[str, str]) -> None:
    text = (FOLDER / name).read_text()
    for old, new in replaced.items():
        assert old in text, f"{old} is not in {name}"
        text = text.replace(old, new)
    (folder / name).write_text(text)


def _run(stack: Stack, program: str, config: str, address: str, *more: str) -> None:
    data = "storage.tsdb.path" if program == "prometheus" else "storage.path"
    options = [f"--config.file={stack.folder / config}", f"--{data}={stack.folder / program}"]
    stack.start(program, [program, *options, f"--web.listen-address={address}", *more])
    stack.wait_for(program, lambda: httpx.get(f"http://{address}/-/ready").is_success)
