"""The messages of the chain are what Celery itself would have written."""

import base64
import json
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import chain as canvas

from storage import keys
from storage.jobs.queueing import EncodedMessage, enqueue
from storage.jobs.spec import RunRef
from storage.redis.calls import SyncRedis
from tasks import queues
from tasks.app import app
from tasks.message import MAX_RUNS, Message, message

pytest_plugins = ["inprocess"]

CARRIED = message("toy", "batch", [RunRef("a" * 64, 1), RunRef("b" * 64, 3)])
OURS_ALONE = {"id", "root_id", "parent_id", "origin", "argsrepr"}
"""Headers that differ from one message to the next, or that Flower shows as we like it."""


def opened(text: bytes | str) -> tuple[dict[str, Any], Any]:
    envelope = json.loads(text)
    return envelope, json.loads(base64.b64decode(envelope["body"]))


def links(embedded: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """A chain without ids and without what only Celery's own sending needs."""
    kept = []
    for link in embedded or []:
        options = {name: link["options"][name] for name in ("queue", "priority")}
        kept.append({**link, "options": options})
    return kept


@pytest.fixture
def celerys(in_process: None, state: "redis.Redis") -> dict[str, Any]:
    """The same chain as Celery's canvas sends it."""
    app.loader.import_default_modules()  # canvas asks the tasks themselves
    arguments = {"preprocess": [CARRIED], "inference": [], "postprocess": []}
    canvas(
        app.signature(
            stage,
            args=arguments[stage],
            options={
                "queue": queues.queue_of(stage, "toy"),
                "priority": queues.CELERY_PRIORITY[(stage, "batch")],
            },
        )
        for stage in queues.STAGES
    ).apply_async()
    [name] = state.keys(f"{keys.BROKER_PREFIX}cpu*")
    return {"queue": name, "text": state.lindex(name, 0)}


def test_a_first_message_is_celerys_own_in_every_field(celerys: dict[str, Any]) -> None:
    letter = queues.first(CARRIED)
    ours, our_body = opened(letter.text)
    theirs, their_body = opened(celerys["text"])

    assert letter.queue == celerys["queue"]
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
    assert our_body[:2] == their_body[:2]
    assert {**our_body[2], "chain": links(our_body[2]["chain"])} == {
        **their_body[2],
        "chain": links(their_body[2]["chain"]),
    }


def test_the_ids_of_a_message_agree() -> None:
    envelope, _ = opened(queues.first(CARRIED).text)

    id = envelope["headers"]["id"]
    assert envelope["headers"]["root_id"] == envelope["properties"]["correlation_id"] == id
    assert envelope["properties"]["delivery_tag"] != id


def walk(carried: Message) -> list[tuple[str, dict[str, Any]]]:
    """(queue, envelope) of every message of a chain in turn."""
    letter: EncodedMessage | None = queues.first(carried)
    seen = []
    while letter:
        envelope, body = opened(letter.text)
        seen.append((letter.queue, envelope))
        request = SimpleNamespace(chain=body[2]["chain"], **envelope["headers"])
        letter = queues.following(request, carried)
    return seen


def test_a_chain_goes_through_its_three_stages_and_ends() -> None:
    seen = walk(CARRIED)

    assert [(queue, envelope["headers"]["task"]) for queue, envelope in seen] == [
        ("px1:q:cpu\x06\x169", "preprocess"),
        ("px1:q:gpu.toy\x06\x169", "inference"),
        ("px1:q:cpu\x06\x166", "postprocess"),
    ]


def test_a_chain_shows_as_one_family() -> None:
    heads = [envelope["headers"] for _, envelope in walk(CARRIED)]

    assert {head["root_id"] for head in heads} == {heads[0]["id"]}
    assert [head["parent_id"] for head in heads] == [None, heads[0]["id"], heads[1]["id"]]


def test_what_people_wait_for_is_served_before_batches() -> None:
    [(first, _), (second, _), (third, _)] = walk(message("toy", "interactive", [RunRef("a", 1)]))

    assert (first, second, third) == ("px1:q:cpu\x06\x163", "px1:q:gpu.toy", "px1:q:cpu")


def test_the_fullest_message_stays_small() -> None:
    full = message("a_rather_long_name", "interactive", [RunRef("f" * 64, 99)] * MAX_RUNS)

    assert len(queues.first(full).text) < 4096


def test_celery_reads_what_was_posted(in_process: None, link: SyncRedis) -> None:
    link.do(enqueue([queues.first(CARRIED)]))

    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue("cpu")
        found = queue.get(timeout=5)
        found.ack()

    assert found.headers["task"] == "preprocess"
    assert found.payload[0] == [json.loads(json.dumps(CARRIED))]
