"""preprocess -> inference -> postprocess, as the messages that Celery's canvas would write.

Canvas costs half a millisecond a message and sends over a connection of its own. Written here, a
message is bytes, and one Lua script queues it in the very step that notes down a stage's end: no
crash can come between the two. A test holds each field against what Celery itself writes.
"""

from base64 import b64encode
from typing import Any
from uuid import uuid4

import orjson

from storage import keys
from storage.jobs.queueing import EncodedMessage
from tasks.message import PROBE, Message, Priority

STAGES = ("preprocess", "inference", "postprocess")

CELERY_PRIORITY = {
    ("postprocess", "interactive"): 0,
    ("preprocess", "interactive"): 3,
    ("postprocess", "batch"): 6,
    ("preprocess", "batch"): 9,
    ("inference", "interactive"): 0,
    ("inference", "batch"): 9,
}
"""0 is served first: what is nearly done leaves before new work enters, people before batches."""

Signature = dict[str, Any]
"""One link of a chain, as Celery serialises it."""


def gpu_queue(model: str) -> str:
    """The queue from which workers that serve `model` take inference."""
    return f"gpu.{model.removeprefix(PROBE)}"


def queue_of(stage: str, model: str) -> str:
    """The queue that a stage's messages wait in."""
    return gpu_queue(model) if stage == "inference" else "cpu"


def queue_after(stage: str, model: str) -> str:
    """The queue of the stage that follows; empty after the last."""
    following = STAGES[STAGES.index(stage) + 1 :]
    return queue_of(following[0], model) if following else ""


def stage_queue(stage: str, model: str) -> str:
    """The queue of a stage; postprocess has its own, as it overtakes preprocess in `cpu`."""
    return "post" if stage == "postprocess" else queue_of(stage, model)


def stage_queue_after(stage: str, model: str) -> str:
    """The queue of the stage that follows; empty after the last."""
    following = STAGES[STAGES.index(stage) + 1 :]
    return stage_queue(following[0], model) if following else ""


def first(carried: Message) -> EncodedMessage:
    """The message that starts the chain for these runs."""
    return _from(STAGES[0], carried)


def following(request: Any, carried: Message) -> EncodedMessage | None:
    """The message for the next stage of the chain that a task's `request` is part of."""
    if not request.chain:
        return None
    *rest, following = request.chain
    return _letter(following, rest, carried, root=request.root_id, parent=request.id)


def same(request: Any, carried: Message) -> EncodedMessage:
    """A message for the stage that `request` is at, with some of its runs."""
    return _from(request.task, carried, root=request.root_id, parent=request.parent_id)


def _from(
    stage: str, carried: Message, root: str = "", parent: str | None = None
) -> EncodedMessage:
    stages = STAGES[STAGES.index(stage) :]
    link, *rest = (_link(name, carried["model"], carried["priority"]) for name in stages)
    return _letter(
        link, rest[::-1], carried, root=root or link["options"]["task_id"], parent=parent
    )


def _link(stage: str, model: str, priority: Priority) -> Signature:
    options = {
        "queue": queue_of(stage, model),
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


def _letter(
    link: Signature,
    rest: list[Signature] | None,
    carried: Message,
    *,
    root: str,
    parent: str | None = None,
) -> EncodedMessage:
    """Celery's message protocol 2 inside kombu's Redis envelope."""
    options = link["options"]
    queue, celery_priority, id = options["queue"], options["priority"], options["task_id"]
    embedded = {"callbacks": None, "errbacks": None, "chain": rest, "chord": None}
    headers = {
        "lang": "py",
        "task": link["task"],
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
        "argsrepr": f"({carried['model']}, {len(carried['runs'])} run(s))",
        "kwargsrepr": "{}",
        "origin": "pixelmill",
        "ignore_result": True,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
    properties = {
        "correlation_id": id,
        "reply_to": "",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "priority": celery_priority,
        "body_encoding": "base64",
        "delivery_tag": str(uuid4()),
    }
    envelope = {
        "body": b64encode(orjson.dumps([[carried], {}, embedded])).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
    }
    return EncodedMessage(keys.queue(queue, celery_priority), orjson.dumps(envelope))
