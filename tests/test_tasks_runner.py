"""A stage does its step for every live run of a message; one run's trouble is its own."""

import base64
import json
import signal
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import redis
import runs
from billiard import common
from celery.exceptions import Reject
from stack import MODEL_PATHS

from storage import backlog_keys, keys, object_keys
from storage import results as stored_results
from storage.errors import StorageDown
from storage.jobs import backlog, bounds, claims, endings, recovery, stages
from storage.jobs.result import StoredResult
from storage.jobs.snapshots import Snapshot
from storage.jobs.spec import RunRef, Spec
from storage.redis.calls import SyncRedis
from tasks import clients, queues, results
from tasks.errors import BadInput, Unavailable
from tasks.message import Message, new_message
from tasks.models import registry, weights
from tasks.retry import PAUSES_S
from tasks.runner import MAX_STARTS, REQUEUED, Outcome, run_stage
from tasks.settings import settings
from tasks.stage import Stage
from tasks.work import MAX_RESTARTS, Work

pytest_plugins = ["inprocess"]

STAGE = Stage("preprocess", "preprocessing", 0.05, 0.25)
LAST = Stage("postprocess", "postprocessing", 0.85, 1.0)

Queued = Callable[[str], list[Message]]


@pytest.fixture
def claim(
    in_process: None, link: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], RunRef]:
    """Claims a run of the toy as it is here; job `job-<key>` waits for it."""
    monkeypatch.setenv("PIXELMILL_MODEL_PATHS", MODEL_PATHS)
    settings.cache_clear()
    own = weights.digest(registry.get("toy")), registry.code_digest("toy")

    def claimed(key: str) -> RunRef:
        spec = Spec(key, "ada", "toy", {"gain": 2}, ["alpha"], "upload", *own)
        asked = claims.claim(f"job-{key}", spec, priority="batch", job_ttl_s=60)
        claim = link.do(asked)
        assert claim.verdict == "start"
        return RunRef(key, claim.attempt)

    return claimed


@pytest.fixture
def view(link: SyncRedis) -> Callable[[str], Snapshot]:
    def seen(key: str) -> Snapshot:
        snapshot = runs.snapshot(link, f"job-{key}")
        assert snapshot is not None
        return snapshot

    return seen


@pytest.fixture
def task() -> Any:
    """What Celery hands to a bound task; `chain` is of an older version's message."""
    ids = {"id": "preprocess-1", "root_id": "preprocess-1", "parent_id": None}
    request = SimpleNamespace(task="preprocess", chain=[{"task": "inference"}], **ids)
    return SimpleNamespace(request=request)


@pytest.fixture
def queued(in_process: None, state: "redis.Redis") -> Queued:
    """What waits for a stage, the oldest first; of inference, in the queue of the version that the
    message names, which is left out."""

    def read(stage: str) -> list[Message]:
        priority = queues.CELERY_PRIORITY[(stage, "batch")]
        pattern = keys.queue(queues.broker_queue(stage, "toy") + "*", priority)
        found = []
        for name in state.keys(pattern):
            for text in reversed(state.lrange(name, 0, -1)):
                message = json.loads(base64.b64decode(json.loads(text)["body"]))[0][0]
                version = message.pop("version", "")
                queue = queues.broker_queue(stage, "toy", version)
                assert (name == keys.queue(queue, priority)) and bool(version) == ("gpu" in name)
                found.append(message)
        return found

    return read


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No pause is made; here is how long they would have been."""
    made: list[float] = []
    monkeypatch.setattr("tasks.retry.time", SimpleNamespace(sleep=made.append))
    return made


def carry(*refs: RunRef) -> Message:
    return new_message("toy", "batch", refs)


def wire(*refs: RunRef) -> dict[str, Any]:
    """The same as it arrives."""
    return dict(json.loads(json.dumps(carry(*refs))))


def spec_of(ref: RunRef) -> Spec:
    """Just enough to name the run's arrays."""
    return Spec(ref.key, "ada", "toy", {}, [], "upload", "w", "c")


def needs_an_array(work: Work) -> Outcome:
    work.array("input")
    return None


def error_of(seen: Snapshot) -> dict[str, Any]:
    return dict(json.loads(seen.fields["error"]))


def test_a_step_gets_run_and_spec(task: Any, claim: Callable[[str], RunRef]) -> None:
    ref = claim("a")
    seen: list[Work] = []

    run_stage(task, STAGE, carry(ref), lambda work: seen.append(work))

    [work] = seen
    assert work.ref == ref
    assert (work.spec.user, work.spec.model, dict(work.spec.params)) == ("ada", "toy", {"gain": 2})


def test_what_goes_on_is_in_the_next_message(
    task: Any, claim: Callable[[str], RunRef], queued: Queued
) -> None:
    refs = [claim("a"), claim("b")]

    run_stage(task, STAGE, carry(*refs), lambda work: None)

    assert queued("inference") == [wire(*refs)]
    assert task.request.chain is None, "Celery would hand it on again"


def test_a_stage_shows_in_the_record(
    task: Any, claim: Callable[[str], RunRef], view: Callable[[str], Snapshot]
) -> None:
    during: list[Snapshot] = []

    run_stage(task, STAGE, carry(claim("a")), lambda work: during.append(view("a")))

    assert (during[0].state, float(during[0].run["progress"])) == ("preprocessing", 0.05)
    assert float(view("a").run["progress"]) == 0.25
    assert (view("a").run["stage"], view("a").ahead) == ("preprocess", 0)


def test_stale_runs_are_left_alone(
    task: Any, claim: Callable[[str], RunRef], view: Callable[[str], Snapshot], queued: Queued
) -> None:
    good, stale = claim("good"), claim("stale")
    seen: list[str] = []

    run_stage(
        task,
        STAGE,
        carry(RunRef("stale", stale.attempt + 1), good),
        lambda work: seen.append(work.ref.key),
    )

    assert seen == ["good"]
    assert queued("inference") == [wire(good)]
    assert view("stale").state == "queued"


def test_the_chain_is_cut_when_nothing_is_left(
    task: Any, claim: Callable[[str], RunRef], queued: Queued
) -> None:
    claim("a")

    run_stage(task, STAGE, carry(RunRef("a", 9)), lambda work: None)

    assert queued("inference") == []
    assert task.request.chain is None


def test_a_result_ends_the_run_there_and_then(
    task: Any, claim: Callable[[str], RunRef], view: Callable[[str], Snapshot], queued: Queued
) -> None:
    run_stage(task, STAGE, carry(claim("a")), lambda work: '{"kind":"labels"}')

    assert (view("a").state, view("a").fields["result"]) == ("done", '{"kind":"labels"}')
    assert queued("inference") == [] and task.request.chain is None


def test_a_moved_run_goes_on_elsewhere(
    task: Any, claim: Callable[[str], RunRef], view: Callable[[str], Snapshot], queued: Queued
) -> None:
    moved, stays = claim("moved"), claim("stays")

    def step(work: Work) -> Outcome:
        return REQUEUED if work.ref == moved else None

    run_stage(task, STAGE, carry(moved, stays), step)

    assert queued("inference") == [wire(stays)]
    assert view("moved").state == "preprocessing"


def test_bad_input_ends_the_run_failed_and_is_remembered(
    task: Any,
    claim: Callable[[str], RunRef],
    view: Callable[[str], Snapshot],
    state: "redis.Redis",
    queued: Queued,
) -> None:
    def step(work: Work) -> Outcome:
        raise BadInput("it is no image", code="no_image", hint="Send another.")

    run_stage(task, STAGE, carry(claim("a")), step)

    assert view("a").state == "failed"
    assert error_of(view("a")) == {
        "code": "no_image",
        "message": "it is no image",
        "hint": "Send another.",
        "status": 422,
    }
    assert state.hget(keys.run("a"), "lasting") == "1"
    assert queued("inference") == []


def test_an_exception_of_the_model_is_a_model_failure(
    task: Any, claim: Callable[[str], RunRef], view: Callable[[str], Snapshot], state: "redis.Redis"
) -> None:
    def step(work: Work) -> Outcome:
        raise ZeroDivisionError("division by zero")

    run_stage(task, STAGE, carry(claim("a")), step)

    error = error_of(view("a"))
    assert (error["code"], error["status"]) == ("model_failure", 500)
    assert error["message"] == "the model failed: ZeroDivisionError: division by zero"
    assert state.hget(keys.run("a"), "lasting") == "0", "another try may go well"


def test_a_model_that_ends_its_process_fails_at_once(
    task: Any, claim: Callable[[str], RunRef], view: Callable[[str], Snapshot]
) -> None:
    def step(work: Work) -> Outcome:
        sys.exit("no licence")

    run_stage(task, STAGE, carry(claim("a")), step)

    error = error_of(view("a"))
    assert error["code"] == "model_failure"
    assert error["message"] == "the model failed: SystemExit: no licence"


def test_a_process_that_is_told_to_end_blames_no_run(
    task: Any,
    claim: Callable[[str], RunRef],
    view: Callable[[str], Snapshot],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def step(work: Work) -> Outcome:
        common._shutdown_cleanup(signal.SIGUSR2, None)
        return None

    monkeypatch.setattr(common, "_should_have_exited", [False])
    before = signal.getsignal(signal.SIGUSR2)
    try:
        with pytest.raises(SystemExit):
            run_stage(task, STAGE, carry(claim("a")), step)
    finally:
        signal.signal(signal.SIGUSR2, before)

    assert view("a").state == "preprocessing"


def test_one_runs_failure_is_its_own(
    task: Any, claim: Callable[[str], RunRef], view: Callable[[str], Snapshot], queued: Queued
) -> None:
    refs = [claim(key) for key in ("a", "bad", "c")]

    def step(work: Work) -> Outcome:
        if work.ref.key == "bad":
            raise BadInput("no")
        return None

    run_stage(task, STAGE, carry(*refs), step)

    assert queued("inference") == [wire(refs[0], refs[2])]
    assert [view(key).state for key in ("a", "bad", "c")] == [
        "preprocessing",
        "failed",
        "preprocessing",
    ]


def test_the_fourth_start_is_poison(
    task: Any, claim: Callable[[str], RunRef], view: Callable[[str], Snapshot], queued: Queued
) -> None:
    ref = claim("a")
    started: list[Work] = []

    def dies(work: Work) -> Outcome:
        started.append(work)
        raise KeyboardInterrupt  # as if the process had been killed: no end is noted

    for _ in range(MAX_STARTS):
        with pytest.raises(KeyboardInterrupt):
            run_stage(task, STAGE, carry(ref), dies)
    run_stage(task, STAGE, carry(ref), dies)

    assert len(started) == MAX_STARTS == 3
    assert (view("a").state, error_of(view("a"))["code"]) == ("failed", "poison")
    assert queued("inference") == [] and task.request.chain is None


def test_storage_that_comes_back_is_waited_for(
    task: Any, claim: Callable[[str], RunRef], view: Callable[[str], Snapshot], pauses: list[float]
) -> None:
    answers = iter([StorageDown("S3 did not answer"), StorageDown("S3 did not answer"), None])

    def step(work: Work) -> Outcome:
        if error := next(answers):
            raise error
        return '{"kind":"labels"}'

    run_stage(task, STAGE, carry(claim("a")), step)

    assert view("a").state == "done"
    assert pauses == list(PAUSES_S[:2])


def test_a_run_whose_storage_stays_away_is_tried_again_later(
    task: Any,
    claim: Callable[[str], RunRef],
    view: Callable[[str], Snapshot],
    link: SyncRedis,
    pauses: list[float],
) -> None:
    def step(work: Work) -> Outcome:
        raise StorageDown("S3 did not answer get_object in/ada/upload")

    run_stage(task, STAGE, carry(claim("a")), step)

    assert view("a").state == "queued"
    assert pauses == list(PAUSES_S)
    assert link.do(recovery.requeue([RunRef("a", 1)], job_ttl_s=60)) == [2]


def test_storage_that_hangs_is_not_asked_again_and_again(
    task: Any,
    claim: Callable[[str], RunRef],
    view: Callable[[str], Snapshot],
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def step(work: Work) -> Outcome:
        time.sleep(0.02)
        raise StorageDown("S3 did not answer")

    monkeypatch.setattr("tasks.retry.PATIENCE_S", 0.01)
    run_stage(task, STAGE, carry(claim("a")), step)

    assert (view("a").state, pauses) == ("queued", [])


def test_an_outage_is_not_held_against_a_run(
    task: Any,
    claim: Callable[[str], RunRef],
    view: Callable[[str], Snapshot],
    link: SyncRedis,
    pauses: list[float],
) -> None:
    def away(work: Work) -> Outcome:
        raise StorageDown("S3 did not answer")

    ref = claim("a")
    for _ in range(MAX_STARTS + 2):
        run_stage(task, STAGE, carry(ref), away)
        [n] = link.do(recovery.requeue([ref], job_ttl_s=60))
        ref = RunRef("a", n)
    run_stage(task, STAGE, carry(ref), lambda work: '{"kind":"labels"}')

    assert view("a").state == "done"


def test_a_run_whose_storage_stays_away_for_too_long_is_unavailable(
    task: Any,
    claim: Callable[[str], RunRef],
    view: Callable[[str], Snapshot],
    state: "redis.Redis",
    pauses: list[float],
) -> None:
    def step(work: Work) -> Outcome:
        raise StorageDown("S3 did not answer get_object in/ada/upload")

    ref = claim("a")
    for _ in range(bounds.MAX_RELEASES + 1):
        run_stage(task, STAGE, carry(ref), step)

    error = error_of(view("a"))
    assert (error["code"], error["status"]) == ("unavailable", 503)
    assert error["message"] == "the storage does not answer", "the log names what is inside"
    assert state.hget(keys.run("a"), "lasting") == "0"


def test_what_is_unavailable_is_not_remembered(
    task: Any, claim: Callable[[str], RunRef], state: "redis.Redis"
) -> None:
    def step(work: Work) -> Outcome:
        raise Unavailable("other code", code="other_version")

    run_stage(task, STAGE, carry(claim("a")), step)

    assert state.hget(keys.run("a"), "lasting") == "0"


def test_a_state_redis_that_is_away_gives_the_message_back(
    task: Any, claim: Callable[[str], RunRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = claim("a")
    with redis.Redis(port=1, retry=None) as client:
        monkeypatch.setattr("tasks.stage.state", lambda: SyncRedis(client))

        with pytest.raises(Reject) as caught:
            run_stage(task, STAGE, carry(ref), lambda work: None)

    assert caught.value.requeue
    assert task.request.chain, "the message comes again as it was"


def test_runs_that_wait_for_a_slow_one_of_their_message_keep_their_leases(
    task: Any, claim: Callable[[str], RunRef], state: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    refs, leases = [claim("a"), claim("b")], []
    monkeypatch.setattr("tasks.stage.RENEW_S", 0.01)

    def step(work: Work) -> Outcome:
        leases.append(float(state.hget(keys.run("b"), "lease") or 0))
        time.sleep(0.05)
        return None

    run_stage(task, STAGE, carry(*refs), step)

    assert leases[1] - leases[0] >= 50


def test_the_runs_of_a_message_go_side_by_side(task: Any, claim: Callable[[str], RunRef]) -> None:
    happened: list[str] = []

    def step(work: Work) -> Callable[[], Outcome]:
        happened.append(f"begin {work.ref.key}")
        return lambda: happened.append(f"wait {work.ref.key}")

    run_stage(task, STAGE, carry(claim("a"), claim("b")), step)

    assert happened == ["begin a", "begin b", "wait a", "wait b"]


def test_a_run_that_fails_while_it_is_waited_for_fails_alone(
    task: Any, claim: Callable[[str], RunRef], view: Callable[[str], Snapshot], queued: Queued
) -> None:
    refs = [claim("a"), claim("bad"), claim("c")]

    def step(work: Work) -> Callable[[], Outcome]:
        def wait() -> Outcome:
            if work.ref.key == "bad":
                raise ValueError("bad pixels")
            return None

        return wait

    run_stage(task, STAGE, carry(*refs), step)

    assert queued("inference") == [wire(refs[0], refs[2])]
    assert error_of(view("bad"))["code"] == "model_failure"


def test_an_ended_run_leaves_no_arrays_behind(task: Any, claim: Callable[[str], RunRef]) -> None:
    ended, goes_on = claim("ended"), claim("goes-on")

    def step(work: Work) -> Outcome:
        clients.scratch().put(work.scratch("input"), np.zeros(3))
        return '{"kind":"labels"}' if work.ref == ended else None

    run_stage(task, STAGE, carry(ended, goes_on), step)

    assert [path.name for path in settings().scratch_dir.glob("pixelmill-*")] == [
        f"pixelmill-{settings().installation}-goes-on-1-input"
    ]


def test_the_last_stage_moves_a_run_into_no_queue(
    task: Any, claim: Callable[[str], RunRef], state: "redis.Redis"
) -> None:
    run_stage(task, LAST, carry(claim("a")), lambda work: '{"kind":"labels"}')

    assert state.keys(f"{keys.POSITIONS_PREFIX}*") == []


def test_a_stage_that_has_ended_is_not_done_again(
    task: Any, claim: Callable[[str], RunRef], queued: Queued
) -> None:
    """The worker died between the end of the stage and its acknowledgement."""
    ref, seen = claim("a"), []
    run_stage(task, STAGE, carry(ref), lambda work: seen.append(work))

    run_stage(task, STAGE, carry(ref), lambda work: seen.append(work))

    assert len(seen) == 1
    assert queued("inference") == [wire(ref)]


def test_a_list_that_comes_again_is_split(
    task: Any, claim: Callable[[str], RunRef], queued: Queued
) -> None:
    refs = [claim("a"), claim("b"), claim("c")]

    def dies(work: Work) -> Outcome:
        raise KeyboardInterrupt  # as if the process had been killed

    with pytest.raises(KeyboardInterrupt):
        run_stage(task, STAGE, carry(*refs), dies)
    run_stage(task, STAGE, carry(*refs), lambda work: pytest.fail("nothing may run"))

    assert queued("preprocess") == [wire(ref) for ref in refs]
    assert queued("inference") == []


def test_what_was_split_belongs_to_the_same_root(
    task: Any, claim: Callable[[str], RunRef], state: "redis.Redis"
) -> None:
    refs = [claim("a"), claim("b")]
    STAGE.begin(carry(*refs), refs)

    run_stage(task, STAGE, carry(*refs), lambda work: None)

    envelope = json.loads(state.lindex(keys.queue("cpu", 9), 0))
    assert (envelope["headers"]["task"], envelope["headers"]["root_id"]) == (
        "preprocess",
        "preprocess-1",
    )


def test_a_run_whose_array_is_gone_has_a_new_number_and_the_old_one_stops(
    task: Any, claim: Callable[[str], RunRef], queued: Queued, view: Callable[[str], Snapshot]
) -> None:
    ref = claim("a")

    run_stage(task, STAGE, carry(ref), needs_an_array)
    run_stage(task, STAGE, carry(ref), lambda work: pytest.fail("it is stale"))

    assert queued("inference") == []
    assert view("a").state == "queued"
    assert list(STAGE.take("ticket", "batch").runs) == [RunRef("a", ref.attempt + 1)]


@pytest.mark.parametrize("stage", [STAGE, LAST], ids=lambda stage: stage.name)
def test_a_run_whose_arrays_vanish_every_time_ends_as_unavailable(
    task: Any, claim: Callable[[str], RunRef], view: Callable[[str], Snapshot], stage: Stage
) -> None:
    ref = claim("a")

    for restart in range(MAX_RESTARTS + 1):
        assert view("a").state == "queued"
        run_stage(task, stage, carry(RunRef("a", ref.attempt + restart)), needs_an_array)

    error = error_of(view("a"))
    assert (view("a").state, error["code"], error["status"]) == ("failed", "unavailable", 503)
    assert "array between two stages was lost" in error["message"]


def test_a_run_that_loses_arrays_in_two_stages_is_not_taken_for_one_that_kills_workers(
    task: Any, claim: Callable[[str], RunRef], view: Callable[[str], Snapshot]
) -> None:
    ref, middle = claim("a"), Stage("inference", "inferring", 0.3, 0.8)

    for n, loses in enumerate([middle, middle, LAST, middle]):
        carried = carry(RunRef("a", ref.attempt + n))
        for stage in (STAGE, middle, LAST):
            step = needs_an_array if stage is loses else lambda work: None
            run_stage(task, stage, carried, step)

    error = error_of(view("a"))
    assert (view("a").state, error["code"]) == ("failed", "unavailable")


def test_a_start_that_a_stop_interrupts_does_not_count(
    task: Any, claim: Callable[[str], RunRef], link: SyncRedis, queued: Queued
) -> None:
    ref, stale = claim("a"), claim("b")

    def interrupted(work: Work) -> Outcome:
        raise KeyboardInterrupt

    for _ in range(MAX_STARTS + 2):
        with pytest.raises(KeyboardInterrupt):
            run_stage(task, STAGE, carry(ref), interrupted)
        given_back = [ref, RunRef("b", stale.attempt + 1)]
        link.do(stages.forget_start(given_back, STAGE.name))
    run_stage(task, STAGE, carry(ref), lambda work: None)

    assert queued("inference") == [wire(ref)]


def test_only_the_run_whose_array_is_gone_starts_again(
    task: Any, claim: Callable[[str], RunRef], queued: Queued
) -> None:
    whole, lost = claim("whole"), claim("lost")
    for ref in (whole, lost):
        clients.scratch().put(Work(ref, spec_of(ref)).scratch("image"), np.zeros(3))
    clients.scratch().put(Work(whole, spec_of(whole)).scratch("input"), np.zeros(3))

    run_stage(task, STAGE, carry(whole, lost), needs_an_array)

    assert queued("inference") == [wire(whole)]
    assert list(STAGE.take("ticket", "batch").runs) == [RunRef("lost", lost.attempt + 1)]
    left = {path.name.split("-")[2] for path in settings().scratch_dir.glob("pixelmill-*")}
    assert left == {"whole"}, "what the lost run had beside it is of no use any more"


def test_a_stale_run_does_not_start_again(
    task: Any, claim: Callable[[str], RunRef], link: SyncRedis
) -> None:
    ref = claim("a")

    def step(work: Work) -> Outcome:
        link.do(recovery.requeue([ref], job_ttl_s=60))  # the reaper was first
        return needs_an_array(work)

    run_stage(task, STAGE, carry(ref), step)

    assert list(STAGE.take("ticket", "batch").runs) == [RunRef("a", ref.attempt + 1)]
    assert not STAGE.take("another", "batch").runs


def test_what_is_stored_after_its_job_was_deleted_is_erased(
    task: Any, claim: Callable[[str], RunRef], link: SyncRedis
) -> None:
    ref = claim("a")

    def step(work: Work) -> Outcome:
        link.do(endings.delete("job-a", "ada", job_ttl_s=60))
        edition = results.new_edition(work.spec)
        clients.objects().put(edition + "alpha.png", b"pixels", "image/png")
        result: StoredResult = {
            "kind": "labels", "width": 1, "height": 1, "objects": {}, "data": {},
        }  # fmt: skip
        return results.save(work.spec, edition, result, results.cache_batch())

    run_stage(task, LAST, carry(ref), step)

    assert clients.objects().page(object_keys.result_folder("ada", "a"), "", 10) == []
    assert clients.results().do(stored_results.read("a")) is None


# Tickets


def ready(link: SyncRedis, *refs: RunRef) -> None:
    for ref in refs:
        link.do(backlog.enqueue_claimed(ref))


def test_a_ticket_brings_the_runs_whose_turn_it_is(
    task: Any, claim: Callable[[str], RunRef], queued: Queued, link: SyncRedis
) -> None:
    refs = [claim("a"), claim("b")]
    ready(link, *refs)

    run_stage(task, STAGE, carry(), lambda work: None)

    assert queued("inference") == [wire(*refs)]


def test_a_ticket_without_anything_to_take_does_nothing(task: Any, queued: Queued) -> None:
    run_stage(task, STAGE, carry(), lambda work: pytest.fail("nothing is there"))

    assert queued("inference") == []


def test_a_ticket_that_comes_again_brings_the_same_runs_one_by_one(
    task: Any,
    claim: Callable[[str], RunRef],
    queued: Queued,
    link: SyncRedis,
    state: "redis.Redis",
) -> None:
    """The worker died: one of them may have killed it."""
    refs = [claim("a"), claim("b")]
    ready(link, *refs)
    STAGE.take(task.request.id, "batch")
    ready(link, claim("later"))

    run_stage(task, STAGE, carry(), lambda work: pytest.fail("nothing may run"))

    a_ticket, *split = queued("preprocess")
    assert a_ticket["runs"] == [], "for the later one"
    assert split == [wire(ref) for ref in refs]
    assert state.keys(backlog_keys.ticket_runs("*")) == []


def test_a_ticket_that_a_stop_puts_back_does_not_count_as_a_start(
    task: Any, claim: Callable[[str], RunRef], queued: Queued, link: SyncRedis
) -> None:
    refs = [claim("a"), claim("b")]
    ready(link, *refs)
    STAGE.take(task.request.id, "batch")

    link.do(stages.forget_start([], STAGE.name, ticket=task.request.id))
    run_stage(task, STAGE, carry(), lambda work: None)

    assert queued("inference") == [wire(*refs)], "together, as before"


def test_a_ticket_whose_runs_have_ended_is_forgotten(
    task: Any, claim: Callable[[str], RunRef], link: SyncRedis, state: "redis.Redis"
) -> None:
    ready(link, claim("goes-on"))
    run_stage(task, STAGE, carry(), lambda work: None)
    ready(link, claim("ends"))
    run_stage(task, STAGE, carry(), lambda work: "{}")

    assert state.keys(backlog_keys.ticket_runs("*")) == []


def test_runs_that_end_before_their_model_make_room_for_others(
    task: Any, claim: Callable[[str], RunRef], queued: Queued, link: SyncRedis
) -> None:
    link.do(backlog.set_credits(1, {"toy": 1}))
    ready(link, claim("a"), claim("b"))

    run_stage(task, STAGE, carry(), lambda work: "{}")

    assert [message["runs"] for message in queued("preprocess")] == [[]], "a ticket"
