"""No script keeps Redis busy for long, however much one user, or everybody, has asked for."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import runs
from many_jobs import JOB_TTL_S, RESULT, Timed, claim, do_all, request_key

from storage import backlog_keys, keys
from storage.jobs import claims, endings, history, recovery
from storage.jobs import stats as job_stats
from storage.jobs.backlog import enqueue_claimed
from storage.jobs.bounds import LEAST_KEPT_MS
from storage.jobs.claims import Claim, Limits
from storage.jobs.endings import LATER, End
from storage.jobs.recovery import Lost
from storage.jobs.spec import RunRef, Spec
from storage.redis.calls import Call, SyncRedis

pytest_plugins = ["inprocess"]

LIMIT_MS = 20
JOBS = 10_000
EXPIRED = '{"code":"expired"}'
RUNS = 300


@pytest.fixture
def raw(state_url: str) -> Iterator["redis.Redis"]:
    """A client of the test's database that decodes nothing."""
    with redis.Redis.from_url(state_url) as client:
        yield client


@pytest.fixture
def timed(raw: "redis.Redis") -> Iterator[Timed]:
    timed = Timed(raw)
    yield timed
    timed.close()


def many_runs(raw: "redis.Redis", count: int) -> list[RunRef]:
    """So many runs under way of one user, each with one job."""
    claims = do_all(raw, (claim(number, known="") for number in range(count)))
    return [RunRef(request_key(number), claim.attempt) for number, claim in enumerate(claims)]


@pytest.mark.measures_time
def test_a_delete_costs_the_same_however_long_the_history_is(
    raw: "redis.Redis", timed: Timed
) -> None:
    do_all(raw, (claim(number) for number in range(JOBS)))

    deletes = (endings.delete(f"{number:032x}", "ada", job_ttl_s=JOB_TTL_S) for number in range(5))
    took = [timed.ms(call) for call in deletes]

    assert all(deleted is not None for _, deleted in took)
    assert min(ms for ms, _ in took) < LIMIT_MS  # the least: others may use this processor too


@pytest.mark.measures_time
def test_a_shared_result_costs_no_more(raw: "redis.Redis", timed: Timed) -> None:
    do_all(raw, (claim(number, key="k" * 64) for number in range(2_000)))

    deletes = (endings.delete(f"{number:032x}", "ada", job_ttl_s=JOB_TTL_S) for number in range(5))
    took = [timed.ms(call) for call in deletes]

    assert [deleted.has_free_result for _, deleted in took] == [False] * 5
    assert min(ms for ms, _ in took) < LIMIT_MS / 4


def test_so_many_jobs_wait_for_one_run_and_the_next_is_refused(link: SyncRedis) -> None:
    limits = Limits(in_flight=9, waiting=9, wait_ms=9e9, costs={}, joined=3)

    verdicts = [link.do(_joining(number, limits)).verdict for number in range(4)]
    refusal = claims.refusal(link.do(_joining(9, limits)))

    assert verdicts == ["start", "join", "join", "busy"]
    assert (refusal.limit, refusal.value) == ("joined", 3)


def test_a_join_that_is_sent_again_is_not_refused(link: SyncRedis) -> None:
    limits = Limits(in_flight=9, waiting=9, wait_ms=9e9, costs={}, joined=2)

    asked = [link.do(_joining(number, limits)).verdict for number in (0, 1, 1)]

    assert asked == ["start", "join", "join"]


def _joining(number: int, limits: Limits) -> Call[Claim]:
    spec = Spec("k" * 64, "ada", "toy", {}, ["alpha"], "upload", "w", "c")
    return claims.claim(f"j{number}", spec, priority="batch", job_ttl_s=60, limits=limits)


def test_all_pages_together_name_every_run_under_way(raw: "redis.Redis", link: SyncRedis) -> None:
    refs = many_runs(raw, 25)

    named, after = [], ""
    while True:
        page = link.do(recovery.under_way(after, most=10))
        named += page.items
        if not (after := page.after):
            break

    assert named == refs


def test_pages_of_the_stats_are_added_up(raw: "redis.Redis", link: SyncRedis) -> None:
    many_runs(raw, 25)
    raw.sadd(keys.MODELS, "toy")

    stats = link.do(job_stats.read(most=10))
    while stats.after:
        stats = stats.with_page(link.do(job_stats.read(stats.after, most=10)))

    assert [(group.state, group.count) for group in stats.groups] == [("waiting", 25)]
    assert stats.totals == {"toy": {}}


def test_lost_runs_are_found_on_every_page(raw: "redis.Redis", link: SyncRedis) -> None:
    refs = many_runs(raw, 25)
    do_all(raw, (enqueue_claimed(ref) for ref in refs))
    raw.delete(*raw.keys(backlog_keys.backlog("*", "*")))

    lost_runs: list[Lost] = []
    for _ in range(2):  # suspect at the first look, lost at the second
        raw.delete(keys.REAPER_LOCK)
        page = link.do(recovery.find_lost(every_ms=900, grace_ms=-1, most=10))
        lost_runs += page.items
        while page.after:
            page = link.do(recovery.find_lost(every_ms=900, grace_ms=-1, after=page.after, most=10))
            lost_runs += page.items

    assert [lost.ref for lost in lost_runs] == refs


def test_expired_jobs_end_so_many_at_a_time(raw: "redis.Redis", link: SyncRedis) -> None:
    many_runs(raw, 25)
    raw.zadd(keys.DEADLINES, {f"{number:032x}": 1 for number in range(25)})

    ended = [link.do(endings.expire(EXPIRED, job_ttl_s=60, most=10)) for _ in range(4)]

    assert ended == [10, 10, 5, 0]


def test_an_ended_job_has_no_deadline_any_more(raw: "redis.Redis", link: SyncRedis) -> None:
    [ref] = many_runs(raw, 1)

    link.do(endings.finish([End(ref, "done", RESULT)], job_ttl_s=60))

    assert not raw.exists(keys.DEADLINES)


def test_runs_whose_records_are_gone_are_passed_over_some_at_a_time(
    raw: "redis.Redis", link: SyncRedis
) -> None:
    """A limit may count some of them for a while, and no script removes thousands at once."""
    raw.zadd(keys.user_runs("ada"), {keys.run(f"gone-{number}"): number for number in range(250)})
    limits = Limits(in_flight=1, waiting=9, wait_ms=9e9, costs={})

    verdicts = [link.do(_joining(number, limits)).verdict for number in range(3)]

    assert verdicts == ["busy", "busy", "start"]


# Histories


def expired(raw: "redis.Redis", count: int, user: str = "ada") -> None:
    """Jobs whose records have expired, in the history of their user; and one young job."""
    history = keys.user_jobs(user)
    raw.zadd(history, {f"gone-{number}": number + 1 for number in range(count)})
    raw.zadd(keys.HISTORIES, {user: 1})


def test_a_history_loses_what_has_expired_so_many_at_a_time(
    raw: "redis.Redis", link: SyncRedis
) -> None:
    expired(raw, 25)
    do_all(raw, [claim(1)])

    looked = [link.do(history.trim(job_ttl_s=JOB_TTL_S, most=10)) for _ in range(4)]

    assert raw.zrange(keys.user_jobs("ada"), 0, -1) == [b"%032x" % 1]
    assert looked == [10, 10, 5, 0]


def test_a_job_that_still_lives_stays_in_the_history(raw: "redis.Redis", link: SyncRedis) -> None:
    do_all(raw, [claim(1)])
    raw.zadd(keys.user_jobs("ada"), {f"{1:032x}": 1})  # asked for long ago, ended lately
    raw.zadd(keys.HISTORIES, {"ada": 1})

    link.do(history.trim(job_ttl_s=JOB_TTL_S))

    assert raw.zcard(keys.user_jobs("ada")) == 1
    assert raw.zscore(keys.HISTORIES, "ada") > 1e12, "it is looked at again later"


def kept(raw: "redis.Redis", user: str = "ada") -> list[int]:
    """The numbers of a user's jobs, the oldest first, each with its record."""
    ids = raw.zrange(keys.user_jobs(user), 0, -1)
    assert all(raw.exists(keys.job(job.decode())) for job in ids)
    return [int(job, 16) for job in ids]


def test_the_oldest_of_too_many_jobs_leave_the_history(raw: "redis.Redis", link: SyncRedis) -> None:
    do_all(raw, [claim(1, known=""), *(claim(number, most_jobs=20) for number in range(2, 26))])

    trim = history.trim(job_ttl_s=JOB_TTL_S, most_jobs=20, least_kept_ms=0, most=3)
    looked = [link.do(trim) for _ in range(3)]

    assert kept(raw) == [1, *range(6, 26)], "one that waits stays until it has ended"
    assert looked == [3, 3, 1]
    assert raw.exists(keys.job(f"{1:032x}"), keys.result_jobs(request_key(2))) == 1


def test_a_history_within_its_bound_is_not_looked_at_early(
    raw: "redis.Redis", link: SyncRedis
) -> None:
    do_all(raw, (claim(number, most_jobs=20) for number in range(20)))

    assert link.do(history.trim(job_ttl_s=JOB_TTL_S, most_jobs=20)) == 0


def test_the_oldest_jobs_of_all_leave_a_state_redis_that_is_full(
    raw: "redis.Redis", link: SyncRedis
) -> None:
    do_all(raw, (claim(number, user="ada") for number in range(1, 6)))
    do_all(raw, (claim(number, user="bob") for number in range(6, 11)))

    link.do(history.trim(job_ttl_s=JOB_TTL_S, is_full=True, least_kept_ms=0, most=3))

    assert (kept(raw, "ada"), kept(raw, "bob")) == ([4, 5], [6, 7, 8, 9, 10])


@pytest.mark.parametrize("why", [{"is_full": True}, {"most_jobs": 0}], ids=["full", "too many"])
def test_no_job_leaves_before_whoever_asked_can_have_read_its_answer(
    raw: "redis.Redis", link: SyncRedis, why: dict[str, Any]
) -> None:
    [claimed] = do_all(raw, [claim(1, known="")])
    do_all(raw, [claim(2), claim(3)])  # answered at once
    ended_ms = raw.time()[0] * 1000 - LEAST_KEPT_MS - 1000
    raw.zadd(keys.user_jobs("ada"), {f"{number:032x}": ended_ms for number in (1, 2)})
    for number in (1, 2):
        raw.hset(keys.job(f"{number:032x}"), "created", ended_ms)
    raw.zadd(keys.HISTORIES, {"ada": ended_ms})
    end = End(RunRef(request_key(1), claimed.attempt), "done", RESULT)
    link.do(endings.finish([end], job_ttl_s=JOB_TTL_S))

    link.do(history.trim(job_ttl_s=JOB_TTL_S, **why))

    assert kept(raw) == [1, 3], "the first waited long and has ended just now"
    assert 0 < raw.zscore(keys.HISTORIES, "ada") - time.time() * 1000 < 70_000, "it is due soon"


def test_a_job_is_kept_as_long_as_the_earlier_result_that_answers_it(
    raw: "redis.Redis", link: SyncRedis
) -> None:
    made_s = int(time.time()) - JOB_TTL_S // 2
    result = json.dumps({**json.loads(RESULT), "made_s": made_s})
    [claimed] = do_all(raw, [claim(2, known="")])

    do_all(raw, [claim(1, known=result), claim(3, key=request_key(2), known="")])
    end = End(RunRef(request_key(2), claimed.attempt), "done", result, made_s=made_s)
    link.do(endings.finish([end], job_ttl_s=JOB_TTL_S))
    do_all(raw, [claim(4, key=request_key(2), known="")])

    left_s = {raw.ttl(keys.job(f"{number:032x}")) for number in (1, 2, 3, 4)}
    assert left_s <= set(range(JOB_TTL_S // 2 - 10, JOB_TTL_S // 2 + 2))


def test_histories_of_many_users_are_trimmed_in_turn(raw: "redis.Redis", link: SyncRedis) -> None:
    for number in range(25):
        expired(raw, 3, user=f"user-{number}")

    while link.do(history.trim(job_ttl_s=JOB_TTL_S, most=10)) >= 10:
        pass

    assert not raw.exists(keys.HISTORIES)
    assert not list(raw.scan_iter(keys.user_jobs("*")))


def test_a_history_whose_key_expired_is_forgotten(raw: "redis.Redis", link: SyncRedis) -> None:
    raw.zadd(keys.HISTORIES, {"ada": 1})

    assert link.do(history.trim(job_ttl_s=JOB_TTL_S)) == 1
    assert not raw.exists(keys.HISTORIES)


def test_runs_with_many_jobs_end_some_at_a_time(raw: "redis.Redis", link: SyncRedis) -> None:
    """A message has 16 runs, and each may have as many jobs as may join it."""
    refs = []
    for number in range(4):
        joins = (claim(100 * number + job, key=f"{number:064}", known="") for job in range(100))
        refs.append(RunRef(f"{number:064}", do_all(raw, joins)[0].attempt))
    ends = [End(ref, "done", RESULT) for ref in refs]

    first = link.do(endings.finish(ends, job_ttl_s=JOB_TTL_S))
    left = [link.do(endings.finish(ends[n:], job_ttl_s=JOB_TTL_S))[0] for n in (1, 2, 3)]

    assert first == [1, LATER, LATER, LATER]
    assert left == [1, 1, 1]
    states = {raw.hget(keys.job(f"{number:032x}"), "state") for number in range(400)}
    assert states == {b"done"}


def test_expired_runs_with_many_jobs_end_some_at_a_time(
    raw: "redis.Redis", link: SyncRedis
) -> None:
    """What a stage leaves is what the reaper ends next: nothing waits for ever."""
    refs = []
    for number in range(4):
        joins = (claim(100 * number + job, key=f"{number:064}", known="") for job in range(100))
        refs.append(RunRef(f"{number:064}", do_all(raw, joins)[0].attempt))
        raw.hset(keys.run(f"{number:064}"), "deadline", 1)
    raw.zadd(keys.DEADLINES, {f"{number:032x}": 1 for number in range(400)})

    call = runs.begin_stage(refs, "preprocess", job_ttl_s=JOB_TTL_S, expired=EXPIRED)
    starts = link.do(call)
    left = raw.zcard(keys.DEADLINES)
    while link.do(endings.expire(EXPIRED, job_ttl_s=JOB_TTL_S)):
        pass

    assert [start.has_ended for start in starts] == [True] * 4
    assert left == 300
    states = {raw.hget(keys.job(f"{number:032x}"), "state") for number in range(400)}
    assert states == {b"failed"} and not raw.exists(keys.ACTIVE)
