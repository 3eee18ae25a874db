#!/bin/sh
# OpenVINO: `import openvino`, all that a server does to run networks, writes an identifier of the user
# into the home folder and reports to an analytics service of another company. Nobody was asked: the
# home folder is empty. The import takes along the program that converts models, which reports its use.
# A proxy on loopback stands for the network here, so nothing is sent.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1 openvino-telemetry==2025.2.0 numpy==2.4.6
mkdir "$folder/home"
cat > "$folder/finding.py" <<'PYTHON'
import importlib.metadata
import os
import pathlib
import socket
import subprocess
import sys
import threading

home = pathlib.Path(sys.argv[1])
asked = []
proxy = socket.create_server(("127.0.0.1", 0))


def note():
    while True:
        connection, _ = proxy.accept()
        asked.append(connection.recv(4096).split(b"\r\n")[0].decode())
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        connection.close()


threading.Thread(target=note, daemon=True).start()
address = "http://127.0.0.1:%d" % proxy.getsockname()[1]
named = {"HOME": str(home), "https_proxy": address, "http_proxy": address}
subprocess.run(
    [sys.executable, "-c", "import openvino, time; time.sleep(5)"],
    env={"PATH": os.environ["PATH"], **named},
    check=True,
)
files = sorted(str(file.relative_to(home)) for file in home.rglob("*") if file.is_file())
print("OpenVINO", importlib.metadata.version("openvino"))
print("Seen: files that the import made in an empty home folder:", files)
print("Seen: what it asked the proxy for:", sorted(set(asked)))
is_so = any("cid" in name for name in files) and any("analytics" in line for line in asked)
print("Importing OpenVINO reports to an analytics service:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder/home"
