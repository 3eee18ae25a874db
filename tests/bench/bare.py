"""A bare Celery chain of three no-ops with lean settings: what our chain is measured beside."""

import json
import os
import sys
import time

from celery import Celery, chain

app = Celery("bare", broker=os.environ["BARE_BROKER"], backend=os.environ["BARE_BACKEND"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_send_task_events=False,
    task_send_sent_event=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    result_expires=3600,
)


@app.task(name="one", ignore_result=True)
def one(value):
    return value


@app.task(name="two", ignore_result=True)
def two(value):
    return value


@app.task(name="three")
def three(value):
    return value


def main():
    """A client process: for each number of jobs on stdin, their latencies in ms on stdout."""
    for line in sys.stdin:
        print(json.dumps([job() for _ in range(int(line))]), flush=True)
    os._exit(0)  # Celery's clean-up meets a broker that is gone already and says so at length


def job():
    began = time.perf_counter()
    steps = chain(one.s(1).set(queue="cpu"), two.s().set(queue="gpu"), three.s().set(queue="cpu"))
    steps.apply_async().get(timeout=30)
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
