"""A worker of another version releases a run; it is requeued for the version that workers have."""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import redis
import runs
from stack import MODEL_PATHS, REPOSITORY, Stack

from storage import catalogue, keys
from storage.jobs import bounds, claims, recovery
from storage.jobs.backlog import enqueue_claimed
from storage.jobs.snapshots import Snapshot
from storage.jobs.spec import VERSION, RunRef, Spec
from storage.redis.calls import AsyncRedis, SyncRedis
from tasks import clients
from tasks.compatibility import OtherVersion, check
from tasks.errors import BadInput
from tasks.message import new_message
from tasks.models import registry, weights
from tasks.runner import Outcome, run_stage
from tasks.settings import settings
from tasks.stage import Stage
from tasks.work import Work
from web.jobs.catalogue import CachedCatalogue
from web.jobs.submission import with_key
from web.limits import STATE_LIMIT_S
from web.maintenance.reaper import requeue_lost, updated

pytest_plugins = ["inprocess"]

PREPROCESS = Stage("preprocess", "preprocessing", 0.05, 0.25)
INFERENCE = Stage("inference", "inferring", 0.3, 0.8)
SCHEMA = {"type": "object", "properties": {"gain": {"type": "number", "default": 1.5}}}
RESULT = '{"kind":"labels"}'


@pytest.fixture
def spec(in_process: None, monkeypatch: pytest.MonkeyPatch) -> Spec:
    """A run of the toy as it is in this process."""
    monkeypatch.setenv("PIXELMILL_MODEL_PATHS", MODEL_PATHS)
    settings.cache_clear()
    own = weights.digest(registry.get("toy")), registry.code_digest("toy")
    return with_key(Spec("", "ada", "toy", {"gain": 2.0}, ["alpha"], "upload", *own, image="photo"))


@pytest.fixture
def claim(link: SyncRedis) -> Callable[..., RunRef]:
    """Claims a run for `job`."""

    def claimed(spec: Spec, job: str = "job") -> RunRef:
        asked = claims.claim(job, spec, priority="batch", job_ttl_s=60)
        ref = RunRef(spec.request_key, link.do(asked).attempt)
        link.do(enqueue_claimed(ref))
        return ref

    return claimed


@pytest.fixture
async def web_state(spec: Spec, state_url: str) -> AsyncIterator[AsyncRedis]:
    """A web process's connection to the state Redis."""
    made = AsyncRedis(state_url, limit_s=STATE_LIMIT_S)
    yield made
    await made.close()


async def requeue(state: AsyncRedis) -> int:
    """Do what the reaper of a web process does; answers how many runs were requeued."""
    return await requeue_lost(state, CachedCatalogue(state))


def announce(link: SyncRedis, spec: Spec, **changes: Any) -> None:
    card = {
        "name": "toy", "params": SCHEMA, "weights": spec.weights, "code": spec.code,
        "decode": "rgb", "cost_ms": {"a": 1.0, "b": 1.0}, **changes,
    }  # fmt: skip
    link.do(catalogue.announce("gpu-1@host", {"queues": ["gpu.toy"]}, {"toy": card}))


def run(
    ref: RunRef, stage: Stage = PREPROCESS, step: Any = lambda work: None, **changes: Any
) -> list[Work]:
    """Do a stage as a worker does; answers the runs that it worked on."""
    seen: list[Work] = []

    def counted(work: Work) -> Outcome:
        seen.append(work)
        outcome: Outcome = step(work)
        return outcome

    carried: Any = {**new_message("toy", "batch", [ref]), **changes}
    ids = {"id": "1", "root_id": "1", "parent_id": None}
    task: Any = SimpleNamespace(request=SimpleNamespace(task=stage.name, chain=None, **ids))
    run_stage(task, stage, carried, counted)
    return seen


def view(link: SyncRedis, job: str = "job") -> Snapshot:
    snapshot = runs.snapshot(link, job)
    assert snapshot is not None
    return snapshot


# What is not for this worker


def test_a_run_of_this_version_is_done(spec: Spec, claim: Callable[..., RunRef]) -> None:
    assert len(run(claim(spec))) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"code": "sha256:other"}, "other code of 'toy'"),
        ({"weights": "sha256:other"}, "other weights of 'toy'"),
        ({"model": "unheard_of"}, "no model 'unheard_of'"),
    ],
    ids=["code", "weights", "model"],
)
def test_each_difference_is_named(spec: Spec, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(OtherVersion, match=reason):
        check(replace(spec, **change))


def test_a_file_that_was_changed_after_it_was_read_is_named(
    spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "edited.py"
    file.write_text("MODEL = 1")
    monkeypatch.setenv("PIXELMILL_MODEL_PATHS", str(tmp_path))
    settings.cache_clear()
    registry.code_digest("edited")
    file.write_text("MODEL = 2")

    with pytest.raises(OtherVersion, match="'edited' has changed since this worker") as raised:
        check(replace(spec, model="edited", code="sha256:new"))

    assert str(raised.value.hint).startswith("Restart all workers")


@pytest.mark.parametrize("stage", [PREPROCESS, INFERENCE], ids=lambda stage: stage.name)
def test_a_run_of_another_version_is_released_unchanged(
    spec: Spec, claim: Callable[..., RunRef], link: SyncRedis, stage: Stage
) -> None:
    ref = claim(replace(spec, code="sha256:other"))

    seen = run(ref, stage)

    assert seen == []
    assert (view(link).state, view(link).run["stage"]) == ("queued", "")


def test_a_message_of_a_newer_version_is_released(
    spec: Spec, claim: Callable[..., RunRef], link: SyncRedis, state: "redis.Redis"
) -> None:
    ref = claim(spec)

    seen = run(ref, v=VERSION + 1, new="field")

    assert seen == []
    assert state.hget(keys.run(ref.key), "releases") == "1"


@pytest.mark.parametrize("change", [{"v": VERSION + 1}, {"new": "field"}])
def test_a_record_of_a_newer_version_is_released(
    spec: Spec,
    claim: Callable[..., RunRef],
    link: SyncRedis,
    state: "redis.Redis",
    change: dict[str, Any],
) -> None:
    ref = claim(spec)
    newer = json.dumps({**json.loads(spec.to_json()), **change})
    state.hset(keys.run(ref.key), "spec", newer)

    seen = run(ref)

    assert seen == [] and view(link).state == "queued"
    assert state.hget(keys.run(ref.key), "releases") == "1"


def test_the_arrays_of_a_released_run_are_deleted(
    spec: Spec, claim: Callable[..., RunRef], tmp_path: Path
) -> None:
    other = replace(spec, code="sha256:other")
    ref = claim(other)
    clients.scratch().put(Work(ref, other).scratch("input"), np.zeros(3))

    run(ref, INFERENCE)

    assert list(settings().scratch_dir.glob("pixelmill-*")) == []


def test_a_release_does_not_count_as_a_start_without_an_end(
    spec: Spec, claim: Callable[..., RunRef], link: SyncRedis
) -> None:
    """Or a long upgrade would make poison of it."""
    ref = claim(replace(spec, code="sha256:other"))

    for _ in range(bounds.MAX_RELEASES):
        run(ref)
        [attempt] = link.do(recovery.requeue([ref], job_ttl_s=60))
        ref = RunRef(ref.key, attempt)

    assert view(link).state == "queued"


def test_a_run_that_no_worker_can_do_for_too_long_fails_with_a_hint(
    spec: Spec, claim: Callable[..., RunRef], link: SyncRedis, state: "redis.Redis"
) -> None:
    ref = claim(replace(spec, code="sha256:other"))
    state.hset(keys.run(ref.key), "releases", bounds.MAX_RELEASES)

    run(ref)

    error = json.loads(view(link).fields["error"])
    assert (error["code"], error["status"]) == ("other_version", 503)
    assert "An update is under way" in error["hint"]


def test_a_run_waits_longer_for_another_worker_each_time_that_it_is_released(
    spec: Spec, claim: Callable[..., RunRef], link: SyncRedis, state: "redis.Redis"
) -> None:
    ref, waits_ms = claim(replace(spec, code="sha256:other")), []

    for _ in range(5):
        run(ref)
        since = state.hmget(keys.run(ref.key), "waiting_since", "suspect_since")
        released_ms, suspect_ms = (float(text or 0) for text in since)
        waits_ms.append(round(suspect_ms + bounds.GRACE_MS - released_ms))
        [attempt] = link.do(recovery.requeue([ref], job_ttl_s=60))
        ref = RunRef(ref.key, attempt)

    assert waits_ms == pytest.approx([250, 500, 1000, 2000, 3000], abs=1)


def test_a_stale_run_is_not_released(
    spec: Spec, claim: Callable[..., RunRef], link: SyncRedis
) -> None:
    ref = claim(spec)

    assert link.do(recovery.release([RunRef(ref.key, 9)])) == [False]
    assert view(link).run["attempt"] == "1"


# Requeued


async def test_a_released_run_is_requeued_after_a_while(
    spec: Spec,
    claim: Callable[..., RunRef],
    link: SyncRedis,
    state: "redis.Redis",
    web_state: AsyncRedis,
) -> None:
    announce(link, spec)
    ref = claim(replace(spec, code="sha256:other"))
    state.hset(keys.run(ref.key), "releases", 9)  # it waits for long by now
    run(ref)

    at_once = await requeue(web_state)
    state.delete(keys.REAPER_LOCK)
    state.hincrbyfloat(keys.run(ref.key), "suspect_since", -bounds.GRACE_MS)
    later = await requeue(web_state)

    assert (at_once, later) == (0, 1)
    assert state.llen(keys.queue("cpu", 9)) == 1, "a ticket"


async def released_and_requeued(ref: RunRef, web_state: AsyncRedis, state: "redis.Redis") -> RunRef:
    """Release it, and requeue it."""
    run(ref)
    state.delete(keys.REAPER_LOCK)
    state.hincrbyfloat(keys.run(ref.key), "suspect_since", -bounds.GRACE_MS)
    assert await requeue(web_state) == 1
    return RunRef(ref.key, ref.attempt + 1)


async def test_it_is_requeued_for_the_code_that_workers_have(
    spec: Spec,
    claim: Callable[..., RunRef],
    link: SyncRedis,
    state: "redis.Redis",
    web_state: AsyncRedis,
) -> None:
    announce(link, spec)
    old = with_key(replace(spec, code="sha256:old", weights="sha256:old"))
    ref = await released_and_requeued(claim(old), web_state, state)

    [work] = run(ref)

    assert work.spec == spec, "down to the request key, under which the result is remembered"
    assert view(link).fields["weights"] == spec.weights


async def test_jobs_that_waited_get_the_result(
    spec: Spec,
    claim: Callable[..., RunRef],
    link: SyncRedis,
    state: "redis.Redis",
    web_state: AsyncRedis,
) -> None:
    announce(link, spec)
    old = with_key(replace(spec, code="sha256:old"))
    ref = claim(old)
    claim(old, "joined")
    seen = view(link).version
    ref = await released_and_requeued(ref, web_state, state)

    run(ref, step=lambda work: RESULT)

    for job in ("job", "joined"):
        assert (view(link, job).state, view(link, job).fields["result"]) == ("done", RESULT)
    assert view(link).version > seen


@pytest.mark.parametrize("outcome", ["done", "failed"])
async def test_its_result_is_not_that_of_the_old_version(
    spec: Spec,
    claim: Callable[..., RunRef],
    link: SyncRedis,
    state: "redis.Redis",
    web_state: AsyncRedis,
    outcome: str,
) -> None:
    """After a step back to the old version, its request is computed by it."""
    announce(link, spec)
    old = with_key(replace(spec, code="sha256:old"))
    ref = await released_and_requeued(claim(old), web_state, state)

    def step(work: Work) -> Outcome:
        if outcome == "failed":
            raise BadInput("no")
        return RESULT

    run(ref, step=step)
    asked = claims.claim("again", old, priority="batch", job_ttl_s=60)

    assert link.do(asked).verdict == "start"


def test_a_run_of_the_present_version_keeps_its_spec(spec: Spec) -> None:
    card = {"weights": spec.weights, "code": spec.code, "params": SCHEMA}

    assert updated(spec.to_json(), card) is None
    assert updated(spec.to_json(), None) is None, "nobody announces the model"


def test_parameters_that_the_new_code_does_not_know_stay_with_the_old(spec: Spec) -> None:
    card = {"weights": spec.weights, "code": "sha256:new", "params": {**SCHEMA, "properties": {}}}

    assert updated(spec.to_json(), card) is None


def test_a_default_of_the_new_code_is_filled_in(spec: Spec) -> None:
    more = {**SCHEMA["properties"], "blur": {"type": "number", "default": 3}}  # type: ignore[dict-item]  # a dict
    card = {"weights": "w", "code": "c", "params": {**SCHEMA, "properties": more}}

    now = updated(spec.to_json(), card)

    assert now is not None and dict(now.params) == {"gain": 2.0, "blur": 3}


# The real thing


@pytest.fixture
def mill(tmp_path: Path) -> Iterator[Stack]:
    """An installation of one model, whose file can be changed."""
    models = tmp_path / "models"
    shutil.copytree(REPOSITORY / "tests" / "bench" / "models", models)
    env = {"PIXELMILL_MODELS": "noop", "PIXELMILL_MODEL_PATHS": str(models)}
    env["PIXELMILL_CPU_PROCESSES"] = "1"
    with Stack(tmp_path / "stack", env) as mill:
        (tmp_path / "stack").mkdir()
        yield mill.start_all()


def restart(mill: Stack, name: str, kind: str) -> None:
    os.killpg(mill.processes[name].pid, signal.SIGTERM)
    mill.processes[name].wait(20)
    mill.start(name, [sys.executable, "-m", "workers", kind])


def test_a_rolling_upgrade_fails_no_job(mill: Stack, tmp_path: Path, photo: bytes) -> None:
    headers = {"Authorization": f"Bearer {mill.api_key}"}
    salts = iter(range(1000))

    def ask() -> str:
        url = f"{mill.url}/api/v1/predict/noop?wait=0&salt={next(salts)}"
        answer = httpx.post(url, content=photo, headers=headers, timeout=10)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    before = mill.models()[0]["weights"]
    jobs = [ask()]
    file = tmp_path / "models" / "noop.py"
    file.write_text(file.read_text() + "\n# newer\n")
    restart(mill, "cpu-worker", "cpu")
    jobs += [ask() for _ in range(5)]
    released = keys.run(mill.state.hget(keys.job(jobs[-1]), "request_key").decode())
    mill.wait_for("cpu-worker", lambda: mill.state.hget(released, "releases"), 30)
    restart(mill, "gpu-worker", "gpu")
    jobs += [ask()]

    def states() -> set[str]:
        urls = [f"{mill.url}/api/v1/jobs/{job}" for job in jobs]
        return {httpx.get(url, headers=headers).json()["state"] for url in urls}

    began = time.monotonic()
    mill.wait_for("web", lambda: states() <= {"done", "failed"}, 60)
    assert states() == {"done"}, f"after {time.monotonic() - began:.1f} s"
    assert mill.models()[0]["weights"] == before
