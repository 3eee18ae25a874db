"""The Celery app: queues, priorities, and the settings that keep jobs safe."""

from celery import Celery, chain
from celery.canvas import Signature

from storage import keys
from tasks.message import Lane, Message
from tasks.settings import settings

VISIBILITY_S = 30
"""How long a message may be held without a sign of life. The same in every worker."""

PRIORITY = {
    ("postprocess", "interactive"): 0,
    ("preprocess", "interactive"): 3,
    ("postprocess", "batch"): 6,
    ("preprocess", "batch"): 9,
    ("inference", "interactive"): 0,
    ("inference", "batch"): 9,
}
"""0 is served first: what is nearly done leaves before new work enters, people before batches."""

app = Celery("pixelmill", include=["tasks.preprocess", "tasks.inference", "tasks.postprocess"])
app.conf.update(
    broker_url=settings().state_url,
    broker_transport="tasks.broker:Transport",
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "global_keyprefix": keys.BROKER_PREFIX,
        "visibility_timeout": VISIBILITY_S,
        # With kombu's defaults a killed worker's message comes back after minutes.
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
    },
    task_ignore_result=True,  # the run record is the truth
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_publish_retry_policy={
        "max_retries": 40,
        "interval_start": 0.1,
        "interval_step": 0.2,
        "interval_max": 1.0,
    },
    task_serializer="json",
    accept_content=["json"],
    task_default_queue="cpu",
    task_send_sent_event=False,
    task_track_started=False,
    worker_prefetch_multiplier=1,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_send_task_events=settings().task_events,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    broker_heartbeat=0,
)


def gpu_queue(model: str) -> str:
    """The queue from which workers that serve `model` take inference."""
    return f"gpu.{model}"


def run_chain(carried: Message) -> Signature:
    """preprocess -> inference -> postprocess for the runs of one message."""
    lane, model = carried["lane"], carried["model"]
    return chain(
        _stage("preprocess", lane, "cpu", carried),
        _stage("inference", lane, gpu_queue(model)),
        _stage("postprocess", lane, "cpu"),
    )


def _stage(name: str, lane: Lane, queue: str, *args: Message) -> Signature:
    options = {
        "queue": queue,
        "priority": PRIORITY[(name, lane)],
        # What Flower shows of the arguments; Celery would spend a tenth of a stage on a picture.
        "argsrepr": "(runs)",
        "kwargsrepr": "{}",
        "declare": [],  # a Redis list needs no declaring
    }
    return app.signature(name, args=args, options=options)
