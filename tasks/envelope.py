"""Writes the messages of the stages preprocess -> inference -> postprocess as Celery would.

Celery's canvas costs half a millisecond per message and a connection of its own. Written here,
a message is bytes, and one Lua script queues it in the same step that records the end of a stage:
no crash can come between the two. A test compares each field with what Celery itself writes.
"""

from base64 import b64encode
from functools import cache
from typing import Any, TypedDict
from uuid import uuid4

import orjson

from storage import keys
from storage.jobs.queueing import TICKET_ID, EncodedMessage, Tickets
from storage.states import PRIORITIES, STAGES, Priority
from tasks.message import Message, new_message, version_of
from tasks.queues import CELERY_PRIORITY, broker_queue, stage_after


class Options(TypedDict):
    """Where Celery sends a task."""

    queue: str
    priority: int
    task_id: str


NO_CANVAS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
"""What follows a task is no part of its message: `following` knows the next stage."""


def following(stage: str, request: Any, message: Message) -> EncodedMessage | None:
    """The message for the stage after `stage`, which `request` is at; None after the last."""
    after = stage_after(stage)
    if not after:
        return None
    return _encoded(after, message, root=request.root_id, parent=request.id)


def same(request: Any, message: Message) -> EncodedMessage:
    """A message for the stage that `request` is at, with some of its runs."""
    return _encoded(request.task, message, root=request.root_id, parent=request.parent_id)


@cache
def tickets() -> Tickets:
    """Priority -> the message that calls a cpu worker to the backlog of that priority."""
    return {priority: _ticket(priority) for priority in PRIORITIES}


def _ticket(priority: Priority) -> EncodedMessage:
    message = new_message("", priority, [])
    return _encoded(STAGES[0], message, id=TICKET_ID, tag=TICKET_ID, root=TICKET_ID)


def _encoded(
    stage: str,
    message: Message,
    *,
    root: str,
    parent: str | None = None,
    id: str = "",
    tag: str = "",
) -> EncodedMessage:
    """Celery's message protocol 2 inside kombu's Redis envelope."""
    options: Options = {
        "queue": broker_queue(stage, message["model"], version_of(message)),
        "priority": CELERY_PRIORITY[(stage, message["priority"])],
        "task_id": id or str(uuid4()),
    }
    envelope = {
        "body": b64encode(orjson.dumps([[message], {}, NO_CANVAS])).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": _headers(stage, options["task_id"], message, root, parent),
        "properties": _properties(options, tag or str(uuid4())),
    }
    return EncodedMessage(keys.queue(options["queue"], options["priority"]), orjson.dumps(envelope))


def _headers(
    stage: str, id: str, message: Message, root: str, parent: str | None
) -> dict[str, object]:
    return {
        "lang": "py",
        "task": stage,
        "id": id,
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": root,
        "parent_id": parent,
        # What Flower shows of the arguments.
        "argsrepr": _shown(message),
        "kwargsrepr": "{}",
        "origin": "pixelmill",
        "ignore_result": True,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }


def _properties(options: Options, tag: str) -> dict[str, object]:
    return {
        "correlation_id": options["task_id"],
        "reply_to": "",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": options["queue"]},
        "priority": options["priority"],
        "body_encoding": "base64",
        "delivery_tag": tag,
    }


def _shown(message: Message) -> str:
    return f"({message['model']}, {len(message['runs'])} run(s))" if message["runs"] else "(ticket)"
