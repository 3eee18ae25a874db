"""Writes preprocess -> inference -> postprocess as the messages that Celery's canvas would send.

A canvas costs half a millisecond per message and sends over a connection of its own. Written here,
a message is bytes, and one Lua script queues it in the same step that records the end of a stage:
no crash can come between the two. A test compares each field with what Celery itself writes.
"""

from base64 import b64encode
from typing import Any, TypedDict
from uuid import uuid4

import orjson

from storage import keys
from storage.jobs.queueing import EncodedMessage
from tasks.message import Message, Priority
from tasks.queues import CELERY_PRIORITY, STAGES, broker_queue


class SignatureOptions(TypedDict):
    """Where Celery sends a task."""

    queue: str
    priority: int
    task_id: str


class Signature(TypedDict):
    """One link of a chain, as Celery serialises it."""

    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    options: SignatureOptions
    subtask_type: str | None
    immutable: bool


def first(message: Message) -> EncodedMessage:
    """The message that starts the chain for these runs."""
    return _from(STAGES[0], message)


def following(request: Any, message: Message) -> EncodedMessage | None:
    """The message for the next stage of the chain that a task's `request` is part of."""
    if not request.chain:
        return None
    *rest, link = request.chain
    return _encoded(link, rest, message, root=request.root_id, parent=request.id)


def same(request: Any, message: Message) -> EncodedMessage:
    """A message for the stage that `request` is at, with some of its runs."""
    return _from(request.task, message, root=request.root_id, parent=request.parent_id)


def _from(
    stage: str, message: Message, root: str = "", parent: str | None = None
) -> EncodedMessage:
    stages = STAGES[STAGES.index(stage) :]
    link, *rest = (_link(name, message["model"], message["priority"]) for name in stages)
    root = root or link["options"]["task_id"]
    return _encoded(link, rest[::-1], message, root=root, parent=parent)


def _link(stage: str, model: str, priority: Priority) -> Signature:
    options: SignatureOptions = {
        "queue": broker_queue(stage, model),
        "priority": CELERY_PRIORITY[(stage, priority)],
        "task_id": str(uuid4()),
    }
    return {
        "task": stage,
        "args": [],
        "kwargs": {},
        "options": options,
        "subtask_type": None,
        "immutable": False,
    }


def _encoded(
    link: Signature,
    rest: list[Signature],
    message: Message,
    *,
    root: str,
    parent: str | None = None,
) -> EncodedMessage:
    """Celery's message protocol 2 inside kombu's Redis envelope."""
    queue, celery_priority = link["options"]["queue"], link["options"]["priority"]
    embedded = {"callbacks": None, "errbacks": None, "chain": rest, "chord": None}
    envelope = {
        "body": b64encode(orjson.dumps([[message], {}, embedded])).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": _headers(link, message, root, parent),
        "properties": _properties(link["options"]),
    }
    return EncodedMessage(keys.queue(queue, celery_priority), orjson.dumps(envelope))


def _headers(link: Signature, message: Message, root: str, parent: str | None) -> dict[str, object]:
    return {
        "lang": "py",
        "task": link["task"],
        "id": link["options"]["task_id"],
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
        "argsrepr": f"({message['model']}, {len(message['runs'])} run(s))",
        "kwargsrepr": "{}",
        "origin": "pixelmill",
        "ignore_result": True,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }


def _properties(options: SignatureOptions) -> dict[str, object]:
    return {
        "correlation_id": options["task_id"],
        "reply_to": "",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": options["queue"]},
        "priority": options["priority"],
        "body_encoding": "base64",
        "delivery_tag": str(uuid4()),
    }
