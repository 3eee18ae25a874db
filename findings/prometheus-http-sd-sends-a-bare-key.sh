#!/bin/sh
# Prometheus: the same block `authorization: {credentials: KEY}` sends `Authorization: Bearer KEY` to what is
# scraped, and `Authorization: KEY` to the address of an `http_sd_configs` beside it. The manual gives both the
# default `type: Bearer`, and `promtool check config` finds nothing wrong: discovery is answered 401 for ever.
# It runs the `prometheus` on the PATH (Debian: apt-get install prometheus), which no package index has.
set -eu
command -v prometheus > /dev/null || { echo "prometheus is not installed"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/finding.py" <<'PYTHON'
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PATIENCE_S = 60
folder = Path(sys.argv[1])
sent = {}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        sent[self.path] = self.headers["authorization"]
        body = b"[]" if self.path == "/targets" else b""
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
config = folder / "prometheus.yml"
config.write_text(f"""
scrape_configs:
  - job_name: scraped
    scrape_interval: 1s
    authorization: {{credentials: KEY}}
    static_configs: [{{targets: ["127.0.0.1:{server.server_port}"]}}]
  - job_name: discovered
    http_sd_configs:
      - url: http://127.0.0.1:{server.server_port}/targets
        authorization: {{credentials: KEY}}
""")
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
version = subprocess.run(["prometheus", "--version"], capture_output=True, text=True).stdout
print(version.splitlines()[0])
prometheus = subprocess.Popen(
    [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ],
    stderr=subprocess.DEVNULL,
)
end = time.monotonic() + PATIENCE_S
while len(sent) < 2 and time.monotonic() < end:
    time.sleep(0.2)
prometheus.terminate()
prometheus.wait()
print("Seen: sent with a scrape:", sent.get("/metrics"))
print("Seen: sent with a discovery:", sent.get("/targets"))
is_so = sent == {"/metrics": "Bearer KEY", "/targets": "KEY"}
print("http_sd_configs sends the credentials without their type:", is_so)
sys.exit(not is_so)
PYTHON
python3 "$folder/finding.py" "$folder"
