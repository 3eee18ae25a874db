"""Two versions of a model side by side: which one gets a run, and what becomes of one that ends."""

import asyncio
import json

import redis
from job_service import CARD

from storage import catalogue, keys, pilot
from storage.jobs.spec import Spec, model_version
from storage.redis.calls import SyncRedis
from tasks.queues import gpu_queue
from web.jobs.service import JobService
from web.maintenance import reaper

pytest_plugins = ["job_service"]


async def test_a_canary_gets_a_part_of_the_runs_and_equal_work_always_the_same_version(
    live: None, service: JobService, link: SyncRedis
) -> None:
    for number in (1, 2):
        card = {**CARD, "weights": f"sha256:{number:08}"}
        version = model_version(card["weights"], card["code"])
        worker = {"queues": ["gpu.toy"], "model_versions": {"toy": version}}
        link.do(catalogue.announce(f"gpu-{number}@host", worker, {"toy": card}))
        await asyncio.sleep(0.002)
    old, new = link.do(catalogue.read()).live["toy"]
    link.do(pilot.order("toy", pilot.Order(version=old, canary=new)))

    cards = [await service.catalogue.card("toy", f"photo {number}") for number in range(300)]
    again = [await service.catalogue.card("toy", f"photo {number}") for number in range(300)]

    tried = sum(card["weights"] == "sha256:00000002" for card in cards)
    assert 10 < tried < 60 and cards == again  # a tenth
    assert (await service.catalogue.card("toy"))["weights"] == "sha256:00000001"


async def test_messages_for_a_version_that_is_gone_are_dropped_and_their_runs_requeued(
    live: None, service: JobService, link: SyncRedis, state: "redis.Redis"
) -> None:
    version = model_version(CARD["weights"], CARD["code"])
    worker = {"queues": ["gpu.toy"], "model_versions": {"toy": version}}
    link.do(catalogue.announce("gpu-2@host", worker, {"toy": CARD}))
    known = keys.model_versions("toy")
    state.hset(known, mapping={"dead": json.dumps(CARD), "since:dead": 1, "seen:dead": 1})
    [living] = link.do(catalogue.read()).live["toy"]
    lists = [keys.queue(gpu_queue("toy", name), 0) for name in ("dead", living)]
    for name in lists:
        state.lpush(name, "a message")

    await reaper.drop_queues_of_gone_versions(service._state, service.catalogue)

    assert [state.exists(name) for name in lists] == [0, 1]


def test_a_lost_run_keeps_its_version_while_workers_serve_it() -> None:
    spec = Spec("key", "ada", "toy", {}, [], "upload", "sha256:old", "sha256:old")
    text = spec.to_json().decode()

    assert reaper.updated(text, CARD, [spec.model_version]) is None
    new = reaper.updated(text, CARD, ["other"])
    assert new is not None and new.weights == CARD["weights"]
