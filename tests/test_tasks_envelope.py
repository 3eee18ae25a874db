"""The messages of the chain are what Celery itself would have written."""

import base64
import json
from types import SimpleNamespace
from typing import Any

import pytest
import redis
import runs

from storage import keys
from storage.jobs import backlog
from storage.jobs.queueing import EncodedMessage, enqueue
from storage.jobs.spec import RunRef
from storage.redis.calls import SyncRedis
from tasks import envelope, queues
from tasks.app import app
from tasks.message import MAX_RUNS, Message, new_message

pytest_plugins = ["inprocess"]

MESSAGE = new_message("toy", "batch", [RunRef("a" * 64, 1), RunRef("b" * 64, 3)])
OURS_ALONE = {"id", "root_id", "parent_id", "origin", "argsrepr"}
"""Headers that differ between any two messages, or that we fill for Flower."""


def opened(text: bytes | str) -> tuple[dict[str, Any], Any]:
    outer = json.loads(text)
    return outer, json.loads(base64.b64decode(outer["body"]))


def first(message: Message) -> EncodedMessage:
    return envelope.same(
        SimpleNamespace(task="preprocess", root_id="root", parent_id=None), message
    )


@pytest.fixture
def celerys(in_process: None, state: "redis.Redis") -> dict[str, Any]:
    """The same message as Celery sends it."""
    app.loader.import_default_modules()
    priority = queues.CELERY_PRIORITY["preprocess", "batch"]
    app.signature("preprocess", args=[MESSAGE]).apply_async(queue="cpu", priority=priority)
    [name] = state.keys(f"{keys.BROKER_PREFIX}cpu*")
    return {"queue": name, "text": state.lindex(name, 0)}


def test_a_first_message_is_celerys_own_in_every_field(celerys: dict[str, Any]) -> None:
    encoded = first(MESSAGE)
    ours, our_body = opened(encoded.text)
    theirs, their_body = opened(celerys["text"])

    assert encoded.queue == celerys["queue"]
    assert ours.keys() == theirs.keys()
    assert {k: v for k, v in ours["headers"].items() if k not in OURS_ALONE} == {
        k: v for k, v in theirs["headers"].items() if k not in OURS_ALONE
    }
    assert ours["headers"].keys() == theirs["headers"].keys()
    varying = {"correlation_id", "reply_to", "delivery_tag"}
    assert ours["properties"].keys() == theirs["properties"].keys()
    assert {k: v for k, v in ours["properties"].items() if k not in varying} == {
        k: v for k, v in theirs["properties"].items() if k not in varying
    }
    assert our_body == their_body


def test_the_ids_of_a_message_agree() -> None:
    outer, _ = opened(first(MESSAGE).text)

    id = outer["headers"]["id"]
    assert outer["properties"]["correlation_id"] == id
    assert outer["properties"]["delivery_tag"] != id


def walk(message: Message) -> list[tuple[str, dict[str, Any]]]:
    """(queue, envelope) of every message of a chain, in order."""
    encoded: EncodedMessage | None = first(message)
    seen = []
    while encoded:
        outer, _ = opened(encoded.text)
        seen.append((encoded.queue, outer))
        encoded = envelope.following(
            outer["headers"]["task"], SimpleNamespace(**outer["headers"]), message
        )
    return seen


def test_a_chain_goes_through_its_three_stages_and_ends() -> None:
    seen = walk(MESSAGE)

    assert [(queue, outer["headers"]["task"]) for queue, outer in seen] == [
        (keys.queue("cpu", 9), "preprocess"),
        (keys.queue("gpu.toy", 9), "inference"),
        (keys.queue("cpu", 6), "postprocess"),
    ]


def test_a_chain_shows_as_one_family() -> None:
    heads = [outer["headers"] for _, outer in walk(MESSAGE)]

    assert {head["root_id"] for head in heads} == {"root"}
    assert [head["parent_id"] for head in heads] == [None, heads[0]["id"], heads[1]["id"]]


def test_interactive_messages_are_served_before_batches() -> None:
    seen = walk(new_message("toy", "interactive", [RunRef("a", 1)]))

    assert tuple(queue for queue, _ in seen) == (
        keys.queue("cpu", 3),
        keys.queue("gpu.toy", 0),
        keys.queue("cpu", 0),
    )


def test_the_fullest_message_stays_small() -> None:
    full = new_message("a_rather_long_name", "interactive", [RunRef("f" * 64, 99)] * MAX_RUNS)

    assert len(first(full).text) < 4096


def test_celery_reads_what_was_posted(in_process: None, link: SyncRedis) -> None:
    link.do(enqueue([first(MESSAGE)]))

    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue("cpu")
        received = queue.get(timeout=5)
        received.ack()

    assert received.headers["task"] == "preprocess"
    assert received.payload[0] == [json.loads(json.dumps(MESSAGE))]


def test_a_ticket_names_no_runs_and_lies_in_its_priority(in_process: None) -> None:
    seen = {}
    for priority, ticket in envelope.tickets().items():
        outer, body = opened(ticket.text)
        seen[priority] = (ticket.queue, outer["headers"]["task"], body[0][0]["runs"])

    assert seen == {
        "interactive": (keys.queue("cpu", 3), "preprocess", []),
        "batch": (keys.queue("cpu", 9), "preprocess", []),
    }


def test_each_ticket_that_is_queued_has_an_id_of_its_own(
    in_process: None, link: SyncRedis, state: "redis.Redis"
) -> None:
    link.do(backlog.set_credits(2, {}))
    for name in ("a", "b"):
        job = runs.claim(link, name)
        link.do(backlog.enqueue_claimed(job.ref, 0, envelope.tickets()))

    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue("cpu")
        received = [queue.get(timeout=5) for _ in range(2)]
        for message in received:
            message.ack()

    ids = [message.headers["id"] for message in received]
    tags = [message.delivery_tag for message in received]
    assert len(set(ids)) == 2 and tags == ids
