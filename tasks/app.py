"""The Celery app: the settings that keep jobs safe."""

from celery import Celery

from storage import keys
from tasks.settings import settings

VISIBILITY_S = 30
"""How long a worker may hold a message without renewing it. The same in every worker."""

app = Celery("pixelmill", include=["tasks.preprocess", "tasks.inference", "tasks.postprocess"])
app.conf.update(
    broker_url=settings().state_url,
    broker_transport="tasks.celery_transport:Transport",
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # A Redis whose disk or memory is full refuses every write. The worker waits instead of ending
    # (celery/celery#5716).
    broker_channel_error_retry=True,
    broker_transport_options={
        "global_keyprefix": keys.BROKER_PREFIX,
        "visibility_timeout": VISIBILITY_S,
        # With kombu's defaults a killed worker's message is redelivered after minutes; see
        # celery/kombu#2558, which made both configurable.
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
    },
    task_ignore_result=True,  # the run record is the truth
    # Else each thread searches all installed packages for a backend of its own: 5 ms of CPU.
    result_backend_thread_safe=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
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
